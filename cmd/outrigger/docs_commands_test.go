// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"outrigger.dev/outrigger/api"
)

// Every command that a page shows exists as written: commands and flags of outrigger, annotations and labels with their
// values, values of the chart, targets of make, and folders and names of tests.
func TestCommandsInDocsExist(t *testing.T) {
	check := newCommandCheck(t)
	checked := map[string]int{}
	for _, page := range docsPages(t) {
		for _, line := range commandLines(readRepository(t, page)) {
			folder := "."
			for _, words := range shellCommands(line) {
				if words[0] == "cd" && len(words) == 2 {
					folder = words[1]
					continue
				}
				checked[filepath.Base(words[0])]++
				if err := check.fault(folder, words); err != nil {
					t.Errorf("%s: %s\n\t%v", page, line, err)
				}
			}
		}
	}
	for word, least := range map[string]int{"outrigger": 80, "kubectl": 80, "helm": 20, "make": 10, "go": 5} {
		if checked[word] < least {
			t.Errorf("only %d commands of %s were found", checked[word], word)
		}
	}
}

// The check finds each kind of fault, and no fault in what is right.
func TestFaultyCommandsAreFound(t *testing.T) {
	check := newCommandCheck(t)
	for line, faulty := range map[string]bool{
		"outrigger status -n demo --watch | cat": false,
		"outrigger shift web v1=90 v2=10 --wait": false,
		"outrigger shfit web v1=90":              true,
		"outrigger shift web v1=90 --wiat":       true,
		"outrigger undo":                         false,
		"outrigger undo a b":                     true,
		"kubectl annotate service web outrigger.dev/weights=v1=90,v2=10 --overwrite":       false,
		"kubectl annotate service web outrigger.dev/weights=v1:90":                         true,
		"kubectl annotate service web outrigger.dev/waits=v1=90":                           true,
		"kubectl annotate service web 'outrigger.dev/match=v2=cookie:beta:1;v2=query:v:3'": false,
		"kubectl annotate namespace demo outrigger.dev/weights=v1=90":                      true,
		"kubectl label namespace demo outrigger.dev/routing=observe":                       false,
		"kubectl annotate namespace demo outrigger.dev/routing=observe":                    true,
		"kubectl label namespace demo outrigger.dev/routing=observed":                      true,
		"kubectl annotate service web outrigger.dev/weights-":                              false,
		"helm upgrade outrigger charts/outrigger --set webhook.failurePolicy=Ignore":       false,
		"helm upgrade outrigger charts/outrigger --set webhook.failPolicy=Ignore":          true,
		"helm upgrade outrigger charts/outrigger --set 'istio.revisions={a,b}',revision=x": false,
		"helm upgrade outrigger charts/nothing":                                            true,
		"make quickstart CLUSTER=kind":                                                     false,
		"make quikstart":                                                                   true,
		"cd test && go test ./e2e -run TestTenant -v":                                      false,
		"cd test && go test ./e2e -run TestTennant -v":                                     true,
		"go test ./nothing": true,
		"outrigger inject -f app.yaml | kubectl annotate -f - outrigger.dev/expose=yes # both": true,
	} {
		folder, found := ".", error(nil)
		for _, words := range shellCommands(line) {
			if words[0] == "cd" {
				folder = words[1]
				continue
			}
			found = errors.Join(found, check.fault(folder, words))
		}
		if (found != nil) != faulty {
			t.Errorf("%s: faulty should be %v, got %v", line, faulty, found)
		}
	}
}

type commandCheck struct {
	keys    map[string]api.KeyDoc
	values  schemaNode
	targets []string
}

type schemaNode struct {
	Properties map[string]schemaNode `json:"properties"`
}

func newCommandCheck(t *testing.T) commandCheck {
	t.Helper()
	check := commandCheck{keys: map[string]api.KeyDoc{}}
	for _, key := range api.RoutingKeys() {
		check.keys[key.Key] = key
	}
	if err := json.Unmarshal([]byte(readRepository(t, "charts/outrigger/values.schema.json")), &check.values); err != nil {
		t.Fatal(err)
	}
	for _, found := range regexp.MustCompile(`(?m)^([a-z][a-z0-9 -]*):`).FindAllStringSubmatch(readRepository(t, "Makefile"), -1) {
		check.targets = append(check.targets, strings.Fields(found[1])...)
	}
	return check
}

func (c commandCheck) fault(folder string, words []string) error {
	for i, word := range words {
		if word == "…" || word == "..." || strings.HasPrefix(word, "<") || strings.HasPrefix(word, ">") {
			words = words[:i] // an omission, or a redirection
			break
		}
	}
	switch filepath.Base(words[0]) {
	case "outrigger":
		return outriggerFault(words[1:])
	case "kubectl":
		if len(words) > 1 && words[1] == "outrigger" {
			return outriggerFault(words[2:])
		}
		return c.kubectlFault(words[1:])
	case "helm":
		return c.helmFault(words[1:])
	case "make":
		return c.makeFault(words[1:])
	case "go":
		return goFault(folder, words[1:])
	}
	return nil
}

func outriggerFault(args []string) error {
	command, rest, err := root("outrigger").Find(args)
	if err != nil {
		return err
	}
	if err := command.ParseFlags(rest); err != nil {
		return err
	}
	if len(rest) == 0 {
		return nil // only named
	}
	return command.ValidateArgs(command.Flags().Args())
}

func (c commandCheck) kubectlFault(args []string) error {
	label := slices.Contains(args, "label")
	if !label && !slices.Contains(args, "annotate") {
		return nil
	}
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "web", Annotations: map[string]string{}, Labels: map[string]string{}},
		Spec: corev1.ServiceSpec{Selector: map[string]string{"app": "web"}, Ports: []corev1.ServicePort{{Name: "http", Port: 8080}}}}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "demo", Annotations: map[string]string{}, Labels: map[string]string{"istio-injection": "enabled"}}}
	object, kind := &service.ObjectMeta, "Service"
	for _, arg := range args {
		if word, _, _ := strings.Cut(arg, "/"); slices.Contains([]string{"namespace", "namespaces", "ns"}, word) {
			object, kind = &namespace.ObjectMeta, "Namespace"
		}
	}
	for _, arg := range args {
		if !strings.HasPrefix(arg, "outrigger.dev/") {
			continue
		}
		name, value, set := strings.Cut(strings.TrimSuffix(arg, "-"), "=")
		key, known := c.keys[name]
		switch {
		case !known:
			return fmt.Errorf("there is no key %s", name)
		case key.Label != label:
			return fmt.Errorf("%s is set with the other of kubectl label and kubectl annotate", name)
		case !slices.Contains(key.On, kind):
			return fmt.Errorf("%s is not read from a %s", name, kind)
		case !set || placeholder.MatchString(value):
		case label:
			object.Labels[name] = value
		default:
			object.Annotations[name] = value
		}
	}
	_, problems := api.RouteIntentOf(service, namespace)
	for _, problem := range problems {
		if problem.Reason == api.RouteInvalidAnnotation {
			return fmt.Errorf("%s: %s", problem.Field, problem.Message)
		}
	}
	return nil
}

// placeholder matches a word that the reader replaces, such as VERSION or {HOST}.
var placeholder = regexp.MustCompile(`\b[A-Z]{3,}\b|…`)

func (c commandCheck) helmFault(args []string) error {
	if !slices.Contains(args, "outrigger") && !slices.Contains(args, "charts/outrigger") {
		return nil // another chart
	}
	for i, arg := range args {
		if strings.HasPrefix(arg, "charts/") {
			if _, err := os.Stat(filepath.Join(repository, arg)); err != nil {
				return err
			}
		}
		if arg != "--set" || i+1 == len(args) {
			continue
		}
		assignments := regexp.MustCompile(`\{[^}]*\}`).ReplaceAllString(args[i+1], "list")
		for assignment := range strings.SplitSeq(assignments, ",") {
			name, _, _ := strings.Cut(assignment, "=")
			if !c.values.has(strings.Split(regexp.MustCompile(`\[\d+\]`).ReplaceAllString(name, ""), ".")) {
				return fmt.Errorf("the chart has no value %s", name)
			}
		}
	}
	return nil
}

// has reports whether the schema knows a path; below an object without a list of properties everything is allowed.
func (n schemaNode) has(path []string) bool {
	if len(path) == 0 || len(n.Properties) == 0 {
		return true
	}
	next, known := n.Properties[path[0]]
	return known && next.has(path[1:])
}

func (c commandCheck) makeFault(args []string) error {
	for _, arg := range args {
		if !strings.Contains(arg, "=") && !strings.HasPrefix(arg, "-") && !slices.Contains(c.targets, arg) {
			return fmt.Errorf("the Makefile has no target %s", arg)
		}
	}
	return nil
}

// goFault checks the folder of "go test", and that -run names tests in it.
func goFault(folder string, args []string) error {
	if len(args) > 1 && args[0] == "-C" {
		folder, args = args[1], args[2:]
	}
	if len(args) == 0 || args[0] != "test" {
		return nil
	}
	var folders []string
	for i, arg := range args[1:] {
		if arg == "." || strings.HasPrefix(arg, "./") {
			dir := filepath.Join(repository, folder, strings.TrimSuffix(arg, "..."))
			if _, err := os.Stat(dir); err != nil {
				return err
			}
			folders = append(folders, dir)
		}
		if arg != "-run" && arg != "-fuzz" {
			continue
		}
		for name := range strings.SplitSeq(args[1:][i+1], "|") {
			name, _, _ = strings.Cut(strings.Trim(name, "^$'"), "/")
			if !placeholder.MatchString(name) && name != "" && !hasTest(folders, strings.TrimPrefix(strings.TrimPrefix(name, "Test"), "Fuzz")) {
				return fmt.Errorf("no test in %v matches %s", folders, name)
			}
		}
	}
	return nil
}

func hasTest(folders []string, name string) bool {
	test := regexp.MustCompile(`(?m)^func (Test|Fuzz)\w*` + regexp.QuoteMeta(name))
	for _, folder := range folders {
		files, _ := filepath.Glob(filepath.Join(folder, "*_test.go"))
		for _, file := range files {
			if text, err := os.ReadFile(file); err == nil && test.Match(text) {
				return true
			}
		}
	}
	return len(folders) == 0
}
