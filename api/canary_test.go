// SPDX-License-Identifier: Apache-2.0

package api

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestCanarySteps(t *testing.T) {
	const m = time.Minute
	for text, want := range map[string][]CanaryStep{
		"100":                {{100, 5 * m, false}},
		"5,20,50,100":        {{5, 5 * m, false}, {20, 5 * m, false}, {50, 5 * m, false}, {100, 5 * m, false}},
		"5@2m,25@10m,100@1h": {{5, 2 * m, true}, {25, 10 * m, true}, {100, 60 * m, true}},
		" 5% , 100% @ 10s ":  {{5, 5 * m, false}, {100, 10 * time.Second, true}},
	} {
		got, err := ParseCanarySteps(text, 5*m)
		if err != nil {
			t.Errorf("%q: %v", text, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q: -want +got\n%s", text, diff)
		}
	}
	for text, want := range map[string]string{
		"":                        "is not a whole percentage",
		"5,,100":                  "is not a whole percentage",
		"0,100":                   "is not a whole percentage",
		"5,101":                   "is not a whole percentage",
		"2.5,100":                 "is not a whole percentage",
		"5,50":                    "the last step is 50; it must be 100",
		"50,20,100":               `step "20" is not larger than the step before it, 50`,
		"50,50,100":               `step "50" is not larger`,
		"5@9s,100":                `"9s" is not a duration from 10s to 720h`,
		"5@,100":                  `"" is not a duration`,
		"5@2m@3m,100":             "is not a duration",
		strings.Repeat("1,", 101): "it has 102 steps, more than 100",
		"5@1000000h,100":          "is not a duration",
		"-5,100":                  "is not a whole percentage",
		"5,100;":                  "is not a whole percentage",
	} {
		if got, err := ParseCanarySteps(text, 5*m); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, %v; want an error with %q", text, got, err, want)
		}
	}
}

func TestCanaryChecks(t *testing.T) {
	queries := []string{"checkout-success", "queue.depth"}
	for text, want := range map[string][]CanaryCheck{
		"error-rate<1%":                 {{"error-rate", "<", 0.01, false, "error-rate<1%"}},
		"error-rate <= 0.5% , p99<1.5x": {{"error-rate", "<=", 0.005, false, "error-rate<=0.5%"}, {"p99", "<", 1.5, true, "p99<1.5x"}},
		"p99.9<500ms,p50<=2s":           {{"p99.9", "<", 0.5, false, "p99.9<500ms"}, {"p50", "<=", 2, false, "p50<=2s"}},
		"error-rate<=1.5x":              {{"error-rate", "<=", 1.5, true, "error-rate<=1.5x"}},
		"readiness":                     {},
		" readiness ":                   {},
		"checkout-success>=0.99":        {{"checkout-success", ">=", 0.99, false, "checkout-success>=0.99"}},
		"queue.depth>0,queue.depth<9":   {{"queue.depth", ">", 0, false, "queue.depth>0"}, {"queue.depth", "<", 9, false, "queue.depth<9"}},
	} {
		got, err := ParseCanaryChecks(text, queries)
		if err != nil {
			t.Errorf("%q: %v", text, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q: -want +got\n%s", text, diff)
		}
	}
	for text, want := range map[string]string{
		"":                            "is not of the form metric<bound",
		"error-rate":                  "is not of the form metric<bound",
		"readiness,p99<1s":            `"readiness" must be the only item; readiness is always checked`,
		"p99<1s, readiness":           `"readiness" must be the only item; readiness is always checked`,
		"readiness<1":                 `unknown metric "readiness"`,
		"error-rate=1%":               "is not of the form",
		"error-rate<1":                `"1" is not a percentage, such as 1%`,
		"error-rate<101%":             "is not a percentage",
		"error-rate>1%":               "a version with a larger error-rate would pass; only < and <= are valid",
		"p99>=0.5x":                   "a version with a larger p99 would pass; only < and <= are valid",
		"error-rate<0%":               "no value is less than 0; error-rate<=0% is the smallest bound",
		"queue.depth<0":               "no value is less than 0; queue.depth<=0 is the smallest bound",
		"error-rate<-1%":              "is not a percentage",
		"error-rate<NaN%":             "is not a percentage",
		"error-rate<0x":               "is not a factor",
		"error-rate<x":                "is not a factor",
		"p99<Infx":                    "is not a factor",
		"p99<500":                     `"500" is not a latency, such as 500ms`,
		"p99<0s":                      "is not a latency",
		"p100<1s":                     `unknown metric "p100"`,
		"p0<1s":                       `unknown metric "p0"`,
		"errorrate<1%":                `did you mean "error-rate"?`,
		"checkout-succes>1":           `did you mean "checkout-success"?`,
		"memory<1":                    "known metrics: error-rate, p50, p90, p95, p99, checkout-success, queue.depth",
		"queue.depth<1%":              `"1%" is not a number`,
		"queue.depth<1_0":             "is not a number",
		"p99<1s,p99<1s":               `check "p99<1s" is listed twice`,
		strings.Repeat("p99<1s,", 21): "it has 22 checks, more than 20",
	} {
		if got, err := ParseCanaryChecks(text, queries); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, %v; want an error with %q", text, got, err, want)
		}
	}
}

func TestCanaryCheckPasses(t *testing.T) {
	for text, values := range map[string]map[float64]bool{
		"p99<1s":           {0.9: true, 1: false, 1.1: false, math.NaN(): false, math.Inf(1): false},
		"p99<=1s":          {1: true, 1.1: false, math.NaN(): false},
		"success>0.9":      {0.9: false, 0.91: true, math.NaN(): false},
		"success>=0.9":     {0.9: true, 0.89: false, math.NaN(): false},
		"error-rate<=100%": {1: true},
	} {
		checks, err := ParseCanaryChecks(text, []string{"success"})
		if err != nil {
			t.Fatal(err)
		}
		for value, want := range values {
			if got := checks[0].Passes(value, checks[0].Bound); got != want {
				t.Errorf("%s of %v: %v, want %v", text, value, got, want)
			}
		}
	}
}

func TestCanaryIntent(t *testing.T) {
	service := func(pairs ...string) *corev1.Service {
		out := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", Annotations: map[string]string{}}}
		for i := 0; i < len(pairs); i += 2 {
			out.Annotations[pairs[i]] = pairs[i+1]
		}
		return out
	}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop", Annotations: map[string]string{
		AnnotationCanaryInterval: "10m", AnnotationCanaryPaused: "true", AnnotationCanarySteps: "50,100@1m",
	}}}
	t.Run("the Namespace alone requests none", func(t *testing.T) {
		intent, problems := RouteIntentOf(service(), namespace)
		if intent.Canary != nil || len(problems) > 0 || len(intent.Texts) > 0 {
			t.Errorf("%+v %v %v", intent.Canary, problems, intent.Texts)
		}
	})
	t.Run("the Namespace has defaults", func(t *testing.T) {
		intent, problems := RouteIntentOf(service(AnnotationCanary, "v2", AnnotationCanaryPaused, "false", AnnotationCanaryChecks, "p99<1.5x", AnnotationCanaryMinRequests, "7", AnnotationCanaryDeadline, "2h"), namespace)
		want := &Canary{
			Version: "v2", Steps: []CanaryStep{{50, 10 * time.Minute, false}, {100, time.Minute, true}}, Interval: 10 * time.Minute, MinRequests: 7, Deadline: 2 * time.Hour,
			Checks: []CanaryCheck{{Metric: "p99", Comparison: "<", Bound: 1.5, IsRelative: true, Text: "p99<1.5x"}},
		}
		if diff := cmp.Diff(want, intent.Canary); diff != "" || len(problems) > 0 {
			t.Errorf("-want +got\n%s%v", diff, problems)
		}
	})
	t.Run("auto on the Namespace", func(t *testing.T) {
		auto := namespace.DeepCopy()
		auto.Annotations[AnnotationCanary] = "auto"
		intent, problems := RouteIntentOf(service(), auto)
		if c := intent.Canary; c == nil || !c.Auto || !c.OnNamespace || c.Version != "" || len(problems) > 0 {
			t.Errorf("%+v %v", c, problems)
		}
	})
	t.Run("an invalid value names object, field, value, and what is right", func(t *testing.T) {
		intent, problems := RouteIntentOf(service(AnnotationCanary, "v2", AnnotationCanarySteps, "20,10"), nil)
		if len(problems) != 1 || !intent.Bad[AnnotationCanarySteps] || intent.Canary == nil {
			t.Fatalf("%v %v", problems, intent.Bad)
		}
		want := `Service shop/web: metadata.annotations[outrigger.dev/canary-steps] = "20,10": Invalid value: step "10" is not larger than the step before it, 20. No canary starts, and a running one stays at its step. Write rising percentages that end with 100, each with an optional duration: 5@2m,25@10m,100@10m.`
		if got := problems[0].String(); got != want {
			t.Errorf("%s\nwant\n%s", got, want)
		}
	})
	t.Run("readiness alone", func(t *testing.T) {
		intent, problems := RouteIntentOf(service(AnnotationCanary, "v2", AnnotationCanaryChecks, "readiness"), nil)
		if c := intent.Canary; len(problems) > 0 || c == nil || c.Checks == nil || len(c.Checks) > 0 {
			t.Errorf("%v %+v", problems, c)
		}
	})
	t.Run("a query that replaces a default one is listed once", func(t *testing.T) {
		_, err := ParseCanaryChecks("memory<1", []string{"error-rate", "p99", "queue"})
		if want := "known metrics: error-rate, p50, p90, p95, p99, queue"; err == nil || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%v", err)
		}
	})
	t.Run("a query of the configuration file", func(t *testing.T) {
		limits := DefaultRouteLimits()
		limits.CanaryQueries = []string{"queue-length"}
		intent, problems := limits.IntentOf(service(AnnotationCanary, "v2", AnnotationCanaryChecks, "queue-length<100"), nil, nil)
		if len(problems) > 0 || len(intent.Canary.Checks) != 1 || intent.Canary.Checks[0].Metric != "queue-length" {
			t.Errorf("%v %+v", problems, intent.Canary)
		}
	})
}
