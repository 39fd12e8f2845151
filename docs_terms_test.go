// SPDX-License-Identifier: Apache-2.0

package outrigger

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"testing"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/certs"
)

const glossaryPage = "docs/start/concepts.md"

// acronyms are those that a platform engineer knows; all others are terms.
var acronyms = strings.Fields(`
	AKS API CD CI CIDR CIS CORS CPU DNS EKS ENI FAQ GB GKE HTML HTTP HTTPS IP JSON KB MB OK OS PEM README RBAC RKE2 SIGTERM SVG TCP TLS UID
	SSH URL UTF YAML`)

var (
	acronym  = regexp.MustCompile(`\b[A-Z][A-Z0-9]{1,6}s?\b`)
	italics  = regexp.MustCompile(`(?:^|[\s(])\*([A-Za-z][^*\n]{1,30})\*(?:[\s.,;:)]|$)`)
	anyLink  = regexp.MustCompile(`!?\[([^\]]*)\]\([^)]*\)`)
	indented = regexp.MustCompile(`(?m)^(?:    |\t).*$`)
	comment  = regexp.MustCompile(`(?s)<!--.*?-->`)
	anyCode  = regexp.MustCompile("`[^`]+`")
)

// prose is a page without code, links' targets, and comments.
func prose(text string) string {
	text = indented.ReplaceAllString(anyCode.ReplaceAllString(fenced.ReplaceAllString(comment.ReplaceAllString(text, ""), ""), "`x`"), "")
	return anyLink.ReplaceAllString(text, "$1")
}

func userPages(t *testing.T) []string {
	t.Helper()
	return slices.DeleteFunc(trackedFiles(t, "docs/*.md", "README.md", "CONTRIBUTING.md", "SECURITY.md", "examples/*.md"), func(page string) bool {
		return strings.HasPrefix(page, "docs/decisions/")
	})
}

// glossary returns the terms of the concepts page, in lower case.
func glossary(t *testing.T) []string {
	t.Helper()
	_, table, _ := strings.Cut(read(t, glossaryPage), "\n## Terms\n")
	var terms []string
	for _, row := range regexp.MustCompile(`(?m)^\| (.+?) \| .+ \|$`).FindAllStringSubmatch(table, -1)[1:] {
		terms = append(terms, strings.ToLower(row[1]))
	}
	if len(terms) < 30 {
		t.Fatalf("only %d terms are defined", len(terms))
	}
	return terms
}

// A word that a page sets in italics, which is how a term is introduced, and every acronym that is not common is defined among
// the terms; and the terms are sorted, and used on another page.
func TestTermsAreDefined(t *testing.T) {
	terms := glossary(t)
	if !slices.IsSorted(terms) {
		t.Errorf("the terms of %s are not sorted", glossaryPage)
	}
	all := ""
	for _, page := range userPages(t) {
		text := prose(read(t, page))
		if page != glossaryPage {
			all += strings.ToLower(read(t, page))
		}
		if generated[page] != nil || page == "docs/reference/commands.md" {
			continue // its values contain placeholders
		}
		for _, fault := range undefined(text, terms) {
			t.Errorf("%s: the term %q is not defined in %s", page, fault, glossaryPage)
		}
	}
	for _, term := range terms {
		if !strings.Contains(all, term) {
			t.Errorf("%s defines %q, which no other page uses", glossaryPage, term)
		}
	}
}

func TestUndefinedTermsAreFound(t *testing.T) {
	got := undefined("The *leader* is *deferred*, with the API, a CA, CAs, and an XDS; 2*3*4.", []string{"leader", "ca"})
	if want := []string{"deferred", "XDS"}; !slices.Equal(got, want) {
		t.Errorf("want %q, got %q", want, got)
	}
}

func undefined(text string, terms []string) (out []string) {
	for _, found := range italics.FindAllStringSubmatch(text, -1) {
		if !slices.Contains(terms, strings.ToLower(found[1])) {
			out = append(out, found[1])
		}
	}
	for _, found := range acronym.FindAllString(text, -1) {
		name := strings.TrimSuffix(found, "s")
		if !slices.Contains(acronyms, name) && !slices.Contains(terms, strings.ToLower(name)) {
			out = append(out, found)
		}
	}
	return out
}

// Every test, metric, annotation, setting, and chart value that a page names in code exists.
func TestNamesInDocsExist(t *testing.T) {
	var schema struct{ Properties map[string]any }
	if err := json.Unmarshal([]byte(read(t, "charts/outrigger/values.schema.json")), &schema); err != nil {
		t.Fatal(err)
	}
	known := knownNames(t)
	seen := map[string]int{}
	for _, page := range userPages(t) {
		for _, found := range inlineCode.FindAllString(fenced.ReplaceAllString(read(t, page), ""), -1) {
			name := strings.Trim(found, "`")
			name, _, _ = strings.Cut(name, "=")
			kind := kindOfName(name, schema.Properties)
			if kind == "" {
				continue
			}
			seen[kind]++
			exists := known[kind][name]
			if kind == "value" {
				exists = exists || hasPath(schema.Properties, strings.Split(name, "."))
			}
			if !exists {
				t.Errorf("%s names the %s %s, which does not exist", page, kind, name)
			}
		}
	}
	for _, kind := range []string{"test", "metric", "key", "value", "reason"} {
		if seen[kind] < 10 {
			t.Errorf("only %d names of the kind %s were found", seen[kind], kind)
		}
	}
}

var (
	testName   = regexp.MustCompile(`^Test[A-Z]\w+$`)
	metricName = regexp.MustCompile(`^outrigger_[a-z_]+$`)
	keyName    = regexp.MustCompile(`^outrigger\.dev/[a-z-]+$`)
	valueName  = regexp.MustCompile(`^[a-z][A-Za-z]+(\.[A-Za-z]+)+$`)
	reasonName = regexp.MustCompile(`^(Route|Gateway|Host|Version|Default|Mesh|Delegate|Subset|Certificate|Inject|Default|Policy|Weights|Drift|Edit|Contest)[A-Za-z]*(ed|ing|s|t|d|Gone|Moved|Missing|Held|Mismatch|Conflict)$`)
)

// kindOfName says what a name in code claims to be; empty for what is not ours to check.
func kindOfName(name string, values map[string]any) string {
	switch {
	case testName.MatchString(name):
		return "test"
	case metricName.MatchString(name):
		return "metric"
	case keyName.MatchString(name):
		return "key"
	case reasonName.MatchString(name):
		return "reason"
	case valueName.MatchString(name):
		if first, _, _ := strings.Cut(name, "."); values[first] != nil {
			return "value"
		}
	}
	return ""
}

func knownNames(t *testing.T) map[string]map[string]bool {
	t.Helper()
	known := map[string]map[string]bool{"test": {}, "metric": {}, "key": {}, "value": {}, "reason": {}}
	for _, m := range metricsOfSource(t) {
		known["metric"][m.name] = true
	}
	known["key"]["outrigger.dev/version"] = true // a label of the Lease, which users do not write
	for _, key := range api.RoutingKeys() {
		known["key"][key.Key] = true
	}
	for _, field := range api.DefaultConfig().Fields() {
		known["value"][field.Path] = true
	}
	for _, reason := range api.RouteReasons() {
		known["reason"][string(reason.Reason)] = true
	}
	for _, reason := range api.InjectReasons() {
		known["reason"][string(reason.Reason)] = true
	}
	for _, reason := range api.CoverageReasons() {
		known["reason"][string(reason.Reason)] = true
	}
	for _, reason := range certs.NoticeReasons() {
		known["reason"][string(reason)] = true
	}
	test := regexp.MustCompile(`(?m)^func (Test\w+)`)
	for _, file := range trackedFiles(t, "*_test.go") {
		for _, found := range test.FindAllStringSubmatch(read(t, file), -1) {
			known["test"][found[1]] = true
		}
	}
	return known
}

// hasPath reports whether a JSON schema knows a path of values; below an object without properties everything is allowed.
func hasPath(properties map[string]any, path []string) bool {
	if len(path) == 0 || len(properties) == 0 {
		return true
	}
	next, known := properties[path[0]].(map[string]any)
	if !known {
		return false
	}
	below, _ := next["properties"].(map[string]any)
	return hasPath(below, path[1:])
}
