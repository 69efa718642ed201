package core

import (
	"errors"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/postonce/poe/internal/replay"
	"github.com/postonce/poe/internal/store"
)

// metrics counts what operators ask first: is anything executed, refused, or unknown. No label ever comes from a
// client.
type metrics struct {
	requests   *prometheus.CounterVec // by door
	minted     prometheus.Counter
	claims     *prometheus.CounterVec   // by result
	settled    *prometheus.CounterVec   // by state
	refused    *prometheus.CounterVec   // by problem
	execution  *prometheus.HistogramVec // by proof, in seconds
	replayed   prometheus.Counter
	unstored   prometheus.Counter
	swept      prometheus.Counter
	callbacks  *prometheus.CounterVec // by result
	recoveries *prometheus.CounterVec // by policy and result
	late       *prometheus.CounterVec // by the state that it found

	// Those that most requests count, found once.
	viaPOE, viaNone, won prometheus.Counter
	rested               map[phase]prometheus.Counter
	executed             map[replay.Proof]prometheus.Observer
	problems             map[*kind]prometheus.Counter

	unregister func() // does nothing the second time, when they may be another gate's
}

// together are collectors that are registered as one: all of them, or none.
type together []prometheus.Collector

// Describe implements prometheus.Collector.
func (t together) Describe(out chan<- *prometheus.Desc) {
	for _, c := range t {
		c.Describe(out)
	}
}

// Collect implements prometheus.Collector.
func (t together) Collect(out chan<- prometheus.Metric) {
	for _, c := range t {
		c.Collect(out)
	}
}

// resolve finds the counters of the hot path, and so shows them from the start, at zero.
func (m *metrics) resolve() {
	m.viaPOE, m.viaNone, m.won = m.requests.WithLabelValues("poe"), m.requests.WithLabelValues("none"), m.claims.WithLabelValues("won")
	for _, result := range []string{"delivered", "failed", "undelivered"} {
		m.callbacks.WithLabelValues(result)
	}
	for policy := range recoveryWords {
		m.recoveries.WithLabelValues(recoveryWords[policy], "person")
	}
	for _, p := range []phase{unused, running, accepted, sent, done, unknown, burned} {
		m.late.WithLabelValues(p.word())
	}
	m.rested = map[phase]prometheus.Counter{}
	for _, p := range []phase{unused, done, unknown, burned} {
		m.rested[p] = m.settled.WithLabelValues(p.word())
	}
	m.problems = map[*kind]prometheus.Counter{}
	for _, k := range problems {
		m.problems[k] = m.refused.WithLabelValues(k.name)
	}
	m.executed = map[replay.Proof]prometheus.Observer{}
	for _, p := range []replay.Proof{replay.Unsent, replay.Complete, replay.Broken} {
		m.executed[p] = m.execution.WithLabelValues(p.String())
	}
}

// rests counts an action that has come to rest; what goes on, such as one that was accepted and is to be tried again, has not.
func (m *metrics) rests(at phase) {
	if c := m.rested[at]; c != nil {
		c.Inc()
	}
}

// newMetrics makes them and registers them with reg, unless that is nil.
func newMetrics(g *Gate, reg prometheus.Registerer) (*metrics, error) {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: "poe", Name: name, Help: help})
	}
	vec := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "poe", Name: name, Help: help}, labels)
	}
	m := &metrics{
		requests:   vec("requests_total", "Requests to guarded places, by the door they came through.", "door"),
		callbacks:  vec("callbacks_total", "Deliveries of callbacks, by their result: delivered, failed, undelivered after the last try.", "result"),
		recoveries: vec("recoveries_total", "Steps of recovery of unknown actions, by policy and result: done, unused, burned, again, or left to a person.", "policy", "result"),
		late:       vec("late_answers_total", "Answers that came after their action was declared unknown, or decided about, by where it stood.", "state"),
		minted:     counter("minted_total", "POE URIs signed."),
		claims:     vec("claims_total", "Claims, by their result: won, taken, refused.", "result"),
		settled:    vec("settled_total", "Actions that came to rest, by state.", "state"),
		refused:    vec("problems_total", "Problems answered, by name.", "problem"),
		execution: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: "poe", Name: "execution_seconds", Help: "Time from the claim, or, of what was accepted, from when it is sent, to the end of an execution, by proof.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2.5, 14),
		}, []string{"proof"}),
		replayed: counter("replayed_total", "Stored answers repeated."),
		unstored: counter("unstored_total", "Outcomes that the ledger could not store."),
		swept:    counter("swept_total", "Records forgotten after their retention."),
	}
	m.resolve()
	m.unregister = func() {}
	if reg == nil {
		return m, nil
	}
	gauge := func(name, help string, value func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "poe", Name: name, Help: help}, value)
	}
	all := together{
		m.requests, m.minted, m.claims, m.settled, m.refused, m.execution, m.replayed, m.unstored, m.swept, m.callbacks, m.recoveries, m.late,
		gauge("running", "Executions under way of requests whose clients wait; those of workers are not among them.", func() float64 { return float64(g.running.n.Load()) }),
		gauge("waiting", "Requests that wait for an execution to end.", func() float64 { return float64(g.waiting.n.Load()) }),
		gauge("disk_free_bytes", "Room on the ledger's disk; -1: nobody knows.", func() float64 { return float64(g.store.Health().Free) }),
		gauge("disk_low", "1 while nothing new is taken, since the disk is nearly full.", func() float64 { return flag(g.store.Health().Low) }),
		gauge("clock_ahead_seconds", "By how much the clock is ahead of what is believed, while nothing is forgotten because of it.", func() float64 { return g.store.Health().Ahead.Seconds() }),
		gauge("spool_memory_bytes", "Memory held by bodies on their way.", func() float64 { m, _ := g.cfg.Spool.Usage(); return float64(m) }),
		gauge("spool_disk_bytes", "Disk held by bodies on their way.", func() float64 { _, d := g.cfg.Spool.Usage(); return float64(d) }),
	}
	for kind := range store.Kind(store.Kinds) {
		all = append(all, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Namespace: "poe", Name: "left_to_person", ConstLabels: prometheus.Labels{"kind": kindWord(kind)},
			Help: "Actions that wait for a person, by kind: requests and compensations whose end is unknown, callbacks that were not delivered.",
		}, func() float64 { return float64(g.store.Health().Left[kind]) }))
	}
	if err := reg.Register(all); errors.As(err, new(prometheus.AlreadyRegisteredError)) {
		return nil, &store.HintError{
			Err:  errors.New("another gate counts in the same registerer, and their counts would be one"),
			What: `give each gate one of its own, such as prometheus.WrapRegistererWith(prometheus.Labels{"gate": "orders"}, registerer), or close the other gate first`,
		}
	} else if err != nil {
		return nil, err
	}
	m.unregister = sync.OnceFunc(func() { reg.Unregister(all) })
	return m, nil
}

func flag(is bool) float64 {
	if is {
		return 1
	}
	return 0
}
