package gateway

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"retort/exchange"
	"retort/internal/wire"
)

// metrics are what the gateway counts since it was made. They hold numbers and the
// names of routes, models that have a price, and rules: no accounts.
type metrics struct {
	registry *prometheus.Registry
	requests *prometheus.CounterVec // answered by an upstream, or aborted
	refused  *prometheus.CounterVec // not passed on
	actions  *prometheus.CounterVec
	tokens   *prometheus.CounterVec
	usage    *prometheus.CounterVec
	cost     prometheus.Counter
	first    *prometheus.HistogramVec
	durable  prometheus.Histogram
	failed   prometheus.Gauge
}

func newMetrics() *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "retort_gateway_requests_total", Help: "Requests passed on, by route, status and what ended them (empty: a regular end)."}, []string{"route", "status", "error"}),
		refused:  prometheus.NewCounterVec(prometheus.CounterOpts{Name: "retort_gateway_refused_total", Help: "Requests that were not passed on, by route and reason."}, []string{"route", "reason"}),
		actions:  prometheus.NewCounterVec(prometheus.CounterOpts{Name: "retort_gateway_actions_total", Help: "What rules of the policy did."}, []string{"action", "rule"}),
		tokens:   prometheus.NewCounterVec(prometheus.CounterOpts{Name: "retort_gateway_tokens_total", Help: "Tokens of the requests passed on."}, []string{"direction"}),
		usage:    prometheus.NewCounterVec(prometheus.CounterOpts{Name: "retort_gateway_usage_total", Help: "Exchanges, by where their token counts come from."}, []string{"source"}),
		cost:     prometheus.NewCounter(prometheus.CounterOpts{Name: "retort_gateway_cost_usd_total", Help: "What the requests passed on cost, in US dollars."}),
		first: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "retort_gateway_first_byte_seconds", Help: "From a request's arrival to its answer's first byte.",
			Buckets: prometheus.ExponentialBuckets(0.01, 2, 14)}, []string{"route"}),
		durable: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "retort_gateway_durable_seconds", Help: "How long the end of an answer waited for the ledger.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 2, 16)}),
		failed: prometheus.NewGauge(prometheus.GaugeOpts{Name: "retort_gateway_ledger_failed", Help: "1 once the ledger has failed."}),
	}
	m.registry.MustRegister(m.requests, m.refused, m.actions, m.tokens, m.usage, m.cost, m.first, m.durable, m.failed,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// ended counts an exchange that is over.
func (m *metrics) ended(rt *route, e *exchange.Exchange) {
	m.requests.WithLabelValues(rt.name, strconv.Itoa(e.Status), string(e.ErrorClass)).Inc()
	m.usage.WithLabelValues(string(e.Usage.Source)).Inc()
	m.tokens.WithLabelValues("input").Add(float64(e.Usage.Input))
	m.tokens.WithLabelValues("output").Add(float64(e.Usage.Output))
	m.cost.Add(e.Cost.USD())
	if e.Times.FirstByte > 0 {
		m.first.WithLabelValues(rt.name).Observe(time.Duration(e.Times.FirstByte - e.Times.Queued).Seconds())
	}
}

// serveMetrics answers who has a key, any that holds.
func (g *Gateway) serveMetrics(w http.ResponseWriter, r *http.Request) {
	if _, no := g.authenticate(g.policy.Load(), r); no != nil {
		g.refuse(w, &route{name: "metrics"}, no)
		return
	}
	promhttp.HandlerFor(g.metrics.registry, promhttp.HandlerOpts{}).ServeHTTP(w, r)
}

func writeHealth(w http.ResponseWriter, status int, health string) error {
	return wire.WriteJSON(w, status, map[string]string{"status": health})
}

// excerpt makes text from outside fit to be shown.
func excerpt(s string) string { return wire.Excerpt(s) }
