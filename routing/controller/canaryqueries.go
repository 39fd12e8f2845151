// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/template"
	"text/template/parse"
	"time"

	"github.com/prometheus/prometheus/promql/parser"

	"outrigger.dev/outrigger/api"
)

// queryFields are what the template of a query can name.
type queryFields struct {
	Namespace, Service string
	Host               string // of the Service, with the cluster's domain
	Version            string // the value of the version label
	Subset             string // the version's subset in the DestinationRule
	Window             string // the time since the step began, as PromQL writes a duration: 90s
	Port               int32  // the first port of the Service
	Quantile           string // of the percentile that is checked, from 0 to 1; empty for other metrics
}

// MetricRequests is the name of the query that counts the requests to a version within the window. It can be replaced like those of metrics.
const MetricRequests = "requests"

// percentileQuery is the name of the template of all percentiles.
const percentileQuery = "percentile"

// defaultQueries read Istio's standard metrics (istio.io/latest/docs/reference/config/metrics): the labels of the receiving
// workload are the version label's value and the canonical revision, of which a pod may have only one. A request that reaches no pod is
// reported by its sender alone, so that the worse of both error rates counts. Among gRPC's statuses, the ones that blame the server are
// errors: UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE, and DATA_LOSS.
//
// A version without current series has no value, even if the window still contains samples of it: the rest of its step is unknown.
var defaultQueries = map[string]string{
	MetricRequests:      requestsOf(ofVersion) + ` or ` + requestsOf(ofRevision),
	api.MetricErrorRate: errorRateOf(ofVersion) + ` or ` + errorRateOf(ofRevision),
	percentileQuery:     percentileOf(ofVersion) + ` or ` + percentileOf(ofRevision),
}

const (
	ofService  = `destination_service_name="{{.Service}}",destination_service_namespace="{{.Namespace}}"`
	ofVersion  = ofService + `,destination_version="{{.Version}}"`
	ofRevision = ofService + `,destination_canonical_revision="{{.Version}}"`
)

// countOf returns a query for the increase of counters within the window. A counter that did not exist before counts with its whole value:
// increase ignores the first value of a series, which can be the only error of its kind.
func countOf(counters string) string {
	return `(max_over_time(` + counters + `[{{.Window}}]) unless ` + counters + ` offset {{.Window}} or increase(` + counters + `[{{.Window}}]))`
}

func requestsOf(labels string) string {
	requests := `istio_requests_total{reporter="destination",` + labels + `}`
	return `sum(` + countOf(requests) + `) and sum(` + requests + `)`
}

func errorRateOf(labels string) string {
	count := func(more string) string { return countOf(`istio_requests_total{` + labels + more + `}`) }
	failed := count(`,response_code=~"5.."`) + ` or ` + count(`,grpc_response_status=~"2|4|12|13|14|15"`)
	all := `sum by (reporter) (` + count("") + `)`
	// Without an error there is no series of errors.
	return `max((sum by (reporter) (` + failed + `) or ` + all + ` * 0) / ` + all + `) and sum(istio_requests_total{` + labels + `})`
}

func percentileOf(labels string) string {
	buckets := `istio_request_duration_milliseconds_bucket{reporter="destination",` + labels + `}`
	return `histogram_quantile({{.Quantile}}, sum by (le) (` + countOf(buckets) + `)) / 1000 and sum(` + buckets + `)`
}

// canaryQueries are the templates of all queries, by name.
type canaryQueries map[string]*template.Template

// newCanaryQueries parses the default queries and those of the configuration, which add to them or replace them. Each is rendered with
// names as the cluster has them, and must be PromQL then.
func newCanaryQueries(configured map[string]string) (canaryQueries, error) {
	out := canaryQueries{}
	var faults []error
	texts := maps.Clone(defaultQueries)
	maps.Copy(texts, configured)
	for _, name := range slices.Sorted(maps.Keys(texts)) {
		parsed, err := parseQuery(name, texts[name])
		if err != nil {
			faults = append(faults, fmt.Errorf("routing.metrics.queries.%s: %w", name, err))
		}
		out[name] = parsed
	}
	return out, errors.Join(faults...)
}

func parseQuery(name, text string) (*template.Template, error) {
	parsed, err := template.New(name).Option("missingkey=error").Parse(text)
	if err != nil {
		return nil, fmt.Errorf("it is not a Go template: %w", err)
	}
	for _, part := range parsed.Templates() {
		if keyword := unbounded(part.Root); keyword != "" {
			return nil, fmt.Errorf("%s is not supported in a query, because it might never end; use fields, if, and with", keyword)
		}
	}
	example := queryFields{
		Namespace: "shop", Service: "reviews", Host: "reviews.shop.svc.cluster.local", Version: "v2", Subset: "v2", Window: "90s", Port: 8080,
	}
	if _, is := api.PercentileOf(name); is || name == percentileQuery {
		example.Quantile = "0.99"
	}
	promQL, err := renderQuery(parsed, example)
	if err != nil {
		return nil, err
	}
	expression, err := parser.NewParser(parser.Options{}).ParseExpr(promQL)
	if err != nil {
		return nil, fmt.Errorf("rendered for Service shop/reviews, it is not PromQL: %w: %s", err, api.Shorten(promQL, 300))
	}
	if kind := expression.Type(); kind != parser.ValueTypeVector && kind != parser.ValueTypeScalar {
		return nil, fmt.Errorf("the query returns a %s; it must return an instant vector or a scalar: %s", parser.DocumentedType(kind), api.Shorten(promQL, 300))
	}
	return parsed, nil
}

// unbounded returns the keyword that lets a template run forever or call itself, range or template, or "" if it has neither.
func unbounded(node parse.Node) string {
	branch := func(of *parse.BranchNode) string {
		found := unbounded(of.List)
		if found == "" && of.ElseList != nil {
			found = unbounded(of.ElseList)
		}
		return found
	}
	switch node := node.(type) {
	case *parse.ListNode:
		for _, child := range node.Nodes {
			if found := unbounded(child); found != "" {
				return found
			}
		}
	case *parse.IfNode:
		return branch(&node.BranchNode)
	case *parse.WithNode:
		return branch(&node.BranchNode)
	case *parse.RangeNode:
		return "range"
	case *parse.TemplateNode:
		return "template"
	}
	return ""
}

// render returns the PromQL of a metric.
func (q canaryQueries) render(metric string, fields queryFields) (string, error) {
	found, isNamed := q[metric]
	if quantile, is := api.PercentileOf(metric); is {
		fields.Quantile = strconv.FormatFloat(quantile, 'g', 6, 64)
		if !isNamed {
			found = q[percentileQuery]
		}
	}
	if found == nil {
		return "", fmt.Errorf("there is no query named %q in routing.metrics.queries", metric)
	}
	return renderQuery(found, fields)
}

// maxQueryBytes limits a rendered query. The default ones have less than 2,000 bytes.
const maxQueryBytes = 16 << 10

// plainName is what names in the cluster consist of. Nothing else may be part of a query: it could end the quotes around it.
var plainName = regexp.MustCompile(`^[-._A-Za-z0-9]*$`)

func renderQuery(parsed *template.Template, fields queryFields) (string, error) {
	for _, text := range []string{fields.Namespace, fields.Service, fields.Host, fields.Version, fields.Subset} {
		if !plainName.MatchString(text) {
			return "", fmt.Errorf("%q cannot be part of a query: only letters, digits, and -._ can", text)
		}
	}
	var out strings.Builder
	if err := parsed.Execute(&out, fields); err != nil {
		return "", fmt.Errorf("the template cannot be rendered: %w; its fields are .Namespace, .Service, .Host, .Version, .Subset, .Window, .Port, and .Quantile", err)
	}
	if out.Len() > maxQueryBytes {
		return "", fmt.Errorf("the query has %d bytes; the limit is %d", out.Len(), maxQueryBytes)
	}
	return out.String(), nil
}

// windowText returns a duration for PromQL, in whole seconds.
func windowText(d time.Duration) string {
	return fmt.Sprintf("%.0fs", d.Truncate(time.Second).Seconds())
}
