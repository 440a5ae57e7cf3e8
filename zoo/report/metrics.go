package report

import (
	"io"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/zoofold/zoofold/zoo/outcome"
)

// lastSuccess is the metric that a failed run takes over from the file of the previous run.
const lastSuccess = "zoofold_last_success_timestamp_seconds"

// WriteMetrics writes the run in Prometheus's text format, for the textfile collector of its node exporter. Every run
// writes all series. If this run did not succeed, the time of the last success is taken over from before, the metrics that
// these replace.
func (d *Document) WriteMetrics(w io.Writer, before io.Reader) error {
	families, err := d.registry(LastSuccess(before)).Gather()
	if err != nil {
		return err
	}
	e := expfmt.NewEncoder(w, expfmt.NewFormat(expfmt.TypeTextPlain))
	for _, f := range families {
		if err := e.Encode(f); err != nil {
			return err
		}
	}
	return nil
}

func (d *Document) registry(before time.Time) *prometheus.Registry {
	r := prometheus.NewRegistry()
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, labels)
		r.MustRegister(g)
		return g
	}
	set := func(name, help string, x float64) { gauge(name, help).WithLabelValues().Set(x) }
	gauge("zoofold_build_info", "The program's version, as a label.", "version").WithLabelValues(d.Run.Version).Set(1)

	models := gauge("zoofold_models", "Models of the last run by how they ended.", "status")
	for _, s := range statuses {
		models.WithLabelValues(string(s.status)).Set(float64(d.Result.Counts[s.status]))
	}
	checks := gauge("zoofold_checks", "Models of the last run by what a check of them said; unchanged models keep what it said before.", "check", "result")
	for _, name := range outcome.CheckNames {
		for _, result := range []outcome.CheckStatus{outcome.Passed, outcome.Mismatch, outcome.NotRun} {
			checks.WithLabelValues(name, label(result))
		}
	}
	share := 0.0
	for _, m := range d.Models {
		for _, c := range m.Checks() {
			checks.WithLabelValues(c.Name, label(c.Status)).Inc()
		}
		if p := m.Predictions; p.Limit > 0 {
			share = max(share, p.Difference/p.Limit)
		}
	}
	set("zoofold_prediction_limit_used_ratio", "The largest share of its limit that the difference of a model's predictions takes.", share)

	end := d.Result
	nodes := gauge("zoofold_per_channel_nodes", "Nodes that scale or shift channels, in all models.", "zoo")
	nodes.WithLabelValues("original").Set(float64(d.sum().before))
	nodes.WithLabelValues("folded").Set(float64(d.sum().after))
	bytes := gauge("zoofold_model_bytes", "Bytes of all models.", "zoo")
	bytes.WithLabelValues("original").Set(float64(end.Bytes))
	bytes.WithLabelValues("folded").Set(float64(end.OutputBytes))
	set("zoofold_unproven_models", "Models of the last run that were kept with less proof than was asked for.", float64(end.Unproven))
	set("zoofold_unmatched_files", "Files of the zoo that no rule of the manifest matches.", float64(len(end.Unmatched)))

	set("zoofold_run_duration_seconds", "How long the last run took.", end.Seconds)
	set("zoofold_run_peak_memory_bytes", "The most memory that the last run had; 0 where the system does not say.", float64(end.PeakMemory))
	set("zoofold_run_exit_code", "The exit code of the last run: 0 if all is done, 1 if models failed, 4 if models were kept with less proof than asked, 130 if it was interrupted.", float64(end.Exit))
	ended := d.Run.Time.Add(time.Duration(end.Seconds * float64(time.Second)))
	set("zoofold_last_run_timestamp_seconds", "When the last run ended.", unix(ended))
	if end.Exit == 0 {
		before = ended
	}
	set(lastSuccess, "When a run last ended with exit code 0; 0 if none did.", unix(before))
	return r
}

// label is a check's status as a label: "not_run".
func label(s outcome.CheckStatus) string { return strings.ReplaceAll(string(s), " ", "_") }

// unix is in seconds since 1970, with milliseconds; 0 for the zero time.
func unix(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMilli()) / 1000
}

// LastSuccess is the time of the last successful run, according to the metrics; the zero time if they do not say.
func LastSuccess(metrics io.Reader) time.Time {
	p := expfmt.NewTextParser(model.UTF8Validation)
	families, err := p.TextToMetricFamilies(metrics)
	if err != nil {
		return time.Time{}
	}
	for _, m := range families[lastSuccess].GetMetric() {
		if x := max(m.GetGauge().GetValue(), m.GetUntyped().GetValue()); x > 0 && x < 1e11 {
			return time.UnixMilli(int64(x * 1000))
		}
	}
	return time.Time{}
}
