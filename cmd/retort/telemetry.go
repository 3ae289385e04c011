package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// The variables by which OpenTelemetry is told where spans go. Headers, time-outs
// and the rest are the SDK's own variables, which it reads itself.
const (
	envOTLP       = "OTEL_EXPORTER_OTLP_ENDPOINT"
	envOTLPTraces = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
)

// tracer returns where spans go, nil if the environment names no collector, and
// what sends the last of them.
func (a *app) tracer(ctx context.Context, service string) (trace.Tracer, func() error, error) {
	var opts []otlptracehttp.Option
	switch {
	case a.getenv(envOTLPTraces) != "":
		opts = append(opts, otlptracehttp.WithEndpointURL(a.getenv(envOTLPTraces)))
	case a.getenv(envOTLP) != "":
		opts = append(opts, otlptracehttp.WithEndpointURL(strings.TrimSuffix(a.getenv(envOTLP), "/")+"/v1/traces"))
	default:
		return nil, func() error { return nil }, nil
	}
	exporter, err := otlptracehttp.New(ctx, opts...)
	if err != nil {
		return nil, nil, fmt.Errorf("send spans: %w; see %s", err, envOTLP)
	}
	about, err := resource.Merge(resource.NewSchemaless(attribute.String("service.name", service)), resource.Environment())
	if err != nil {
		return nil, nil, fmt.Errorf("send spans: %w", err)
	}
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(about))
	return provider.Tracer("retort"), func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := provider.Shutdown(ctx); err != nil {
			return fmt.Errorf("send the last spans: %w", err)
		}
		return nil
	}, nil
}
