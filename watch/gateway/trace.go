package gateway

import (
	"context"
	"net/url"
	"strconv"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"retort/exchange"
)

// trace makes an exchange that is over a span, by the semantic conventions for
// generative AI: a child of the client's, if that sent its own. It says nothing of
// accounts and nothing of what was written.
func (g *Gateway) trace(x *passage) {
	if g.tracer == nil || x.q == nil {
		return
	}
	e := x.e
	operation := x.rt.wire.operation
	attrs := []attribute.KeyValue{
		attribute.String("gen_ai.operation.name", operation),
		attribute.String("gen_ai.provider.name", e.Provider),
		attribute.String("gen_ai.request.model", e.ModelAsked),
		attribute.String("retort.exchange", e.ID.String()),
		attribute.Int("http.response.status_code", e.Status),
		attribute.Bool("gen_ai.request.stream", x.q.stream),
	}
	if u, err := url.Parse(e.Endpoint); err == nil {
		attrs = append(attrs, attribute.String("server.address", u.Hostname()))
		if port, err := strconv.Atoi(u.Port()); err == nil {
			attrs = append(attrs, attribute.Int("server.port", port))
		}
	}
	if x.q.maxTokens > 0 {
		attrs = append(attrs, attribute.Int64("gen_ai.request.max_tokens", x.q.maxTokens))
	}
	if e.ModelAnswered != "" {
		attrs = append(attrs, attribute.String("gen_ai.response.model", e.ModelAnswered))
	}
	if e.Answer.FinishReason != "" {
		attrs = append(attrs, attribute.StringSlice("gen_ai.response.finish_reasons", []string{e.Answer.FinishReason}))
	}
	if e.Usage.Source == exchange.UsageReported {
		attrs = append(attrs, attribute.Int64("gen_ai.usage.input_tokens", e.Usage.Input), attribute.Int64("gen_ai.usage.output_tokens", e.Usage.Output))
	}
	if e.ErrorClass != "" {
		attrs = append(attrs, attribute.String("error.type", string(e.ErrorClass)))
	}
	ctx := propagation.TraceContext{}.Extract(context.Background(), propagation.HeaderCarrier(x.r.Header))
	_, span := g.tracer.Start(ctx, operation+" "+e.ModelAsked, trace.WithSpanKind(trace.SpanKindClient), trace.WithTimestamp(time.Unix(0, e.Times.Sent)), trace.WithAttributes(attrs...))
	if e.Times.FirstByte > 0 {
		span.AddEvent("gen_ai.first_byte", trace.WithTimestamp(time.Unix(0, e.Times.FirstByte)))
	}
	if e.ErrorClass != "" {
		span.SetStatus(codes.Error, string(e.ErrorClass))
	}
	span.End(trace.WithTimestamp(time.Unix(0, e.Times.LastByte)))
}
