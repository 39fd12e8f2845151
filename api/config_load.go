// SPDX-License-Identifier: Apache-2.0

package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/yaml"
)

// LoadConfig reads the configuration file, YAML or JSON, over the defaults. An unknown field, a duplicate one, or an invalid value
// is an error that names the field, the value, and what is valid. It reports all errors together, sorted by field.
func LoadConfig(text []byte) (Config, error) {
	config := DefaultConfig()
	tree, err := configTree(text)
	if err != nil {
		return Config{}, fmt.Errorf("configuration file: %w", err)
	}
	faults := setFields(reflect.ValueOf(&config).Elem(), tree, nil)
	if len(faults) == 0 {
		faults = config.contradictions()
	}
	if len(faults) > 0 {
		return Config{}, fmt.Errorf("configuration file: %s", sentences(faults))
	}
	if routing, ok := tree["routing"].(map[string]any); !ok || routing["enabled"] == nil {
		config.Routing.Enabled = config.Istio.Revision == ""
	}
	return config, nil
}

func sentences(faults field.ErrorList) string {
	var out []string
	for _, fault := range faults {
		out = append(out, fault.Error())
	}
	return strings.Join(out, "; ")
}

// configTree parses the file into maps. It returns an empty map for an empty file.
func configTree(text []byte) (map[string]any, error) {
	if hasSecondDocument(text) {
		return nil, fmt.Errorf("it must be one YAML document; a second one follows the line ---")
	}
	document, err := yaml.YAMLToJSONStrict(text)
	if err != nil {
		return nil, fmt.Errorf("not YAML: %w", err)
	}
	decoder := json.NewDecoder(bytes.NewReader(document))
	decoder.UseNumber()
	var tree any
	if err := decoder.Decode(&tree); err != nil {
		return nil, fmt.Errorf("not YAML: %w", err)
	}
	switch tree := tree.(type) {
	case nil:
		return map[string]any{}, nil
	case map[string]any:
		return tree, nil
	}
	return nil, fmt.Errorf("it must be a map of fields, beginning with apiVersion: %s", ConfigAPIVersion)
}

// hasSecondDocument reports whether a line "---" follows something that is not a comment. The parser would ignore everything after
// it.
func hasSecondDocument(text []byte) bool {
	content := false
	for line := range strings.Lines(string(text)) {
		line = strings.TrimRight(line, " \t\r\n")
		if line == "---" && content {
			return true
		}
		content = content || line != "" && line != "---" && !strings.HasPrefix(line, "#")
	}
	return false
}

// setFields writes the tree over the struct and returns an error for each field that is unknown or invalid. A field without a value
// keeps its default.
func setFields(target reflect.Value, tree map[string]any, at *field.Path) field.ErrorList {
	fields := map[string]int{}
	for i := range target.NumField() {
		fields[target.Type().Field(i).Tag.Get("json")] = i
	}
	var faults field.ErrorList
	for _, key := range slices.Sorted(maps.Keys(tree)) {
		path := at.Child(key)
		index, known := fields[key]
		if !known {
			faults = append(faults, unknownField(at, key, slices.Sorted(maps.Keys(fields))))
			continue
		}
		if tree[key] == nil {
			continue
		}
		value := target.Field(index)
		if value.Kind() != reflect.Struct {
			if fault := setField(target.Type().Field(index), value, tree[key], path); fault != nil {
				faults = append(faults, fault)
			}
			continue
		}
		below, ok := tree[key].(map[string]any)
		if !ok {
			faults = append(faults, invalid(path, tree[key], "a map of fields"))
			continue
		}
		faults = append(faults, setFields(value, below, path)...)
	}
	return faults
}

func unknownField(at *field.Path, key string, names []string) *field.Error {
	where := "the file"
	if at != nil {
		where = at.String()
	}
	key = shownText(key)
	candidate, near := NearestVersion(key, names)
	for _, name := range names {
		if strings.EqualFold(name, key) {
			candidate, near = name, true
		}
	}
	if near {
		return field.Forbidden(at.Child(key), fmt.Sprintf("unknown field; did you mean %s? The fields of %s are %s", at.Child(candidate), where, strings.Join(names, ", ")))
	}
	return field.Forbidden(at.Child(key), fmt.Sprintf("unknown field; the fields of %s are %s", where, strings.Join(names, ", ")))
}

func invalid(path *field.Path, value any, valid string) *field.Error {
	return field.Invalid(path, shownValue(value), "must be "+valid)
}

// setField writes one value, or returns what is valid.
func setField(of reflect.StructField, target reflect.Value, given any, path *field.Path) *field.Error {
	switch {
	case target.Type() == durationType:
		return setDuration(of, target, given, path)
	case target.Kind() == reflect.Bool:
		value, ok := given.(bool)
		if !ok {
			return invalid(path, given, "true or false")
		}
		target.SetBool(value)
		return nil
	case target.Kind() == reflect.Int:
		return setNumber(of, target, given, path)
	case target.Kind() == reflect.Slice:
		return setList(of, target, given, path)
	case target.Kind() == reflect.Map:
		return setMap(target, given, path)
	}
	return setText(of, target, given, path)
}

func setDuration(of reflect.StructField, target reflect.Value, given any, path *field.Path) *field.Error {
	least, _ := time.ParseDuration(of.Tag.Get("min"))
	most, _ := time.ParseDuration(of.Tag.Get("max"))
	text, _ := given.(string)
	value, err := time.ParseDuration(text)
	if err != nil || value < least || value > most {
		return invalid(path, given, fmt.Sprintf("a duration from %s to %s, for example 90s or 24h", ShortDuration(least), ShortDuration(most)))
	}
	target.SetInt(int64(value))
	return nil
}

func setNumber(of reflect.StructField, target reflect.Value, given any, path *field.Path) *field.Error {
	least, _ := strconv.Atoi(of.Tag.Get("min"))
	most, _ := strconv.Atoi(of.Tag.Get("max"))
	number, _ := given.(json.Number)
	value, err := strconv.Atoi(number.String())
	if err != nil || value < least || value > most {
		return invalid(path, given, fmt.Sprintf("a whole number from %d to %d", least, most))
	}
	target.SetInt(int64(value))
	return nil
}

func setList(of reflect.StructField, target reflect.Value, given any, path *field.Path) *field.Error {
	items, ok := given.([]any)
	if !ok {
		return invalid(path, given, "a list")
	}
	form := of.Tag.Get("form")
	var list []string
	for i, item := range items {
		text, ok := item.(string)
		if !ok || formFault(form, text) != "" {
			return invalid(path.Index(i), item, forms[form].right)
		}
		list = append(list, text)
	}
	target.Set(reflect.ValueOf(list))
	return nil
}

func setMap(target reflect.Value, given any, path *field.Path) *field.Error {
	entries, ok := given.(map[string]any)
	if !ok {
		return invalid(path, given, "a map of text")
	}
	out := map[string]string{}
	for _, key := range slices.Sorted(maps.Keys(entries)) {
		text, ok := entries[key].(string)
		if !ok || text == "" {
			return invalid(path.Key(shownText(key)), entries[key], "text; write it in quotes")
		}
		out[key] = text
	}
	if len(out) > 0 {
		target.Set(reflect.ValueOf(out))
	}
	return nil
}

func setText(of reflect.StructField, target reflect.Value, given any, path *field.Path) *field.Error {
	text, ok := given.(string)
	if values := closedSet(of); values != nil {
		if !ok || !slices.Contains(values, text) {
			return invalid(path, given, "one of "+quoted(values))
		}
	} else if !ok {
		return invalid(path, given, "text; write it in quotes")
	}
	if right := formFault(of.Tag.Get("form"), text); right != "" {
		if at := strings.LastIndex(text, "@"); at >= 0 && of.Tag.Get("form") == "httpURLOrEmpty" {
			given = "[hidden]" + text[at:] // a user name and a password
		}
		return invalid(path, given, right)
	}
	target.SetString(text)
	return nil
}

func quoted(values []string) string {
	var out []string
	for _, value := range values {
		out = append(out, strconv.Quote(value))
	}
	return strings.Join(out, ", ")
}

// contradictions returns an error for each field whose value is invalid together with that of another field.
func (c Config) contradictions() field.ErrorList {
	var out field.ErrorList
	election, certificates := field.NewPath("leaderElection"), field.NewPath("certificates")
	if e := c.LeaderElection; e.RenewDeadline >= e.LeaseDuration {
		out = append(out, field.Invalid(election.Child("renewDeadline"), ShortDuration(e.RenewDeadline), fmt.Sprintf("must be less than leaseDuration, %s", ShortDuration(e.LeaseDuration))))
	}
	if e := c.LeaderElection; e.RetryPeriod*6/5 >= e.RenewDeadline {
		out = append(out, field.Invalid(election.Child("retryPeriod"), ShortDuration(e.RetryPeriod), fmt.Sprintf("1.2 times its value must be less than renewDeadline, %s", ShortDuration(e.RenewDeadline))))
	}
	if w := c.Webhook; len(w.ClientNames) > 0 && w.ClientCA == "" {
		out = append(out, field.Forbidden(field.NewPath("webhook", "clientNames"), "requires webhook.clientCA, the CA of the certificates with these names"))
	}
	if k := c.Certificates; k.LeafDuration*3 > k.CADuration {
		out = append(out, field.Invalid(certificates.Child("leafDuration"), ShortDuration(k.LeafDuration), fmt.Sprintf("must be at most a third of caDuration, %s", ShortDuration(k.CADuration))))
	}
	if k := c.Certificates; (k.Source == CertificateCertManager) != (k.CertificateName != "") {
		out = append(out, field.Invalid(certificates.Child("certificateName"), shownText(k.CertificateName), fmt.Sprintf("must be the name of a Certificate with source certManager, and empty with another source; source is %q", k.Source)))
	}
	if k := c.Certificates; k.CABundle != "" && k.Source != CertificateFromSecret {
		out = append(out, field.Forbidden(certificates.Child("caBundle"), fmt.Sprintf("must be empty unless source is secret; source is %q", k.Source)))
	}
	for _, name := range slices.Sorted(maps.Keys(c.Routing.Metrics.Queries)) {
		if !canaryQuery.MatchString(name) {
			out = append(out, field.Invalid(field.NewPath("routing", "metrics", "queries"), shownText(name), "must be a name that checks can use: a letter, followed by letters, digits, and -_. only"))
		}
	}
	if r := c.Routing; r.Canary.Checks != "" {
		if checks, err := ParseCanaryChecks(r.Canary.Checks, r.Metrics.queryNames()); err != nil {
			why := err.Error()
			if mayBeSecret(why) {
				why = "must be checks such as error-rate<1%, separated by commas"
			}
			out = append(out, field.Invalid(field.NewPath("routing", "canary", "checks"), shownText(r.Canary.Checks), why))
		} else if len(checks) > 0 && r.Metrics.PrometheusURL == "" {
			out = append(out, field.Forbidden(field.NewPath("routing", "canary", "checks"), "requires routing.metrics.prometheusURL, the server that the checks query"))
		}
	}
	return out
}
