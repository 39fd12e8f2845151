// SPDX-License-Identifier: Apache-2.0

package outrigger

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const quickstartPage = "docs/start/quickstart.md"

// Programs that the quickstart calls. Each appends its command line to $CALLS; what asks for state fails, as on a new machine.
// An applied manifest is recorded by its images.
const fakeProgram = `#!/bin/sh
case "$1 $2" in
"get events") echo "Failed to pull image"; exit ;;
"get clusters" | "get namespace" | "cluster get") exit "${FAKE_MISSING:-1}" ;;
"get nodes") printf 'arm64 amd64 arm64'; exit ;;
"get deployments") printf '%s' "$FAKE_ISTIOD"; exit ;;
"version --request-timeout=15s") [ -z "$FAKE_DOWN" ] || exit 1 ;;
esac
echo "${0##*/} $*" >>"$CALLS"
case "$*" in
*"-f -") sed -n 's/^ *image: /image /p' >>"$CALLS" ;;
esac
`

// runQuickstart runs the script, or any other shell commands, with fake programs and these settings. It returns the commands that
// were printed, the calls of the programs, and everything that was printed.
func runQuickstart(t *testing.T, programs []string, script string, settings ...string) (printed, calls []string, out string, err error) {
	t.Helper()
	read(t, "hack/quickstart.sh") // so that the go command runs the test again when the script changed
	dir := t.TempDir()
	for _, name := range programs {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(fakeProgram), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"bash", "sh", "sed", "dirname", "grep", "cat", "tail", "seq", "sort", "paste", "tr"} {
		path, err := exec.LookPath(name)
		if err != nil {
			t.Skipf("%s is not installed; install it to run this test", name)
		}
		if err := os.Symlink(path, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	record := filepath.Join(dir, "calls")
	command := exec.CommandContext(t.Context(), filepath.Join(dir, "bash"), "-c", script)
	command.Env = append([]string{"PATH=" + dir, "CALLS=" + record, "HOME=" + dir}, settings...)
	var output bytes.Buffer
	command.Stdout, command.Stderr = &output, &output
	err = command.Run()
	for _, line := range strings.Split(output.String(), "\n") {
		if command, found := strings.CutPrefix(line, "$ "); found {
			printed = append(printed, command)
		}
	}
	text, readErr := os.ReadFile(record)
	if readErr == nil {
		calls = strings.Split(strings.TrimSpace(string(text)), "\n")
	}
	return printed, calls, output.String(), err
}

// section returns the lines of the last block of commands below a heading of the page, and its exports separately.
func section(t *testing.T, heading string) (lines, exports []string) {
	t.Helper()
	page := read(t, quickstartPage)
	_, text, found := strings.Cut(page, "\n## "+heading+"\n")
	if !found {
		t.Fatalf("%s has no section %q", quickstartPage, heading)
	}
	text, _, _ = strings.Cut(text, "\n## ")
	blocks := regexp.MustCompile("(?s)```bash\n(.*?)\n```").FindAllStringSubmatch(text, -1)
	if len(blocks) == 0 {
		t.Fatalf("%s: section %q has no commands", quickstartPage, heading)
	}
	for _, line := range strings.Split(blocks[len(blocks)-1][1], "\n") {
		if assignments, found := strings.CutPrefix(line, "export "); found {
			exports = append(exports, strings.Fields(assignments)...)
		} else {
			lines = append(lines, line)
		}
	}
	return lines, exports
}

var quickstartPrograms = []string{"make", "go", "kubectl", "helm", "sudo", "kind", "k3d", "docker"}

func TestQuickstartRunsTheLinesOfItsPage(t *testing.T) {
	for _, c := range []struct {
		heading  string
		settings []string
		calls    []string // some of them, in order
	}{
		{"kind", []string{"CLUSTER=kind"}, []string{
			"kind create cluster --name outrigger", "make build image PLATFORMS=linux/amd64,linux/arm64", "kind load image-archive bin/outrigger-image.tar --name outrigger",
			"helm upgrade --install istiod ", "helm upgrade --install outrigger ", "helm upgrade --install istio-ingressgateway ",
			"kubectl apply -n springistiodemo", "kubectl annotate service springbootapp outrigger.dev/expose=true", "kubectl wait ",
		}},
		{"k3d", []string{"CLUSTER=k3d"}, []string{"k3d cluster create outrigger", "k3d image import bin/outrigger-image.tar --cluster outrigger"}},
		{"k3s with Rancher", []string{"CLUSTER=current", "LOAD=sudo k3s ctr images import"}, []string{"sudo k3s ctr images import bin/outrigger-image.tar"}},
		{"An existing cluster", []string{"KUBECONFIG=config"}, []string{
			"kubectl version", "make build image PLATFORMS=linux/amd64,linux/arm64",
			"crane push bin/image registry.example.com/outrigger:", "--set image.repository=registry.example.com/outrigger",
		}},
		{"An air-gapped registry", []string{"CLUSTER=current", "ISTIO_CHARTS=istio-charts", "ISTIO_ARGS=--set global.hub=$REGISTRY/istio"}, []string{
			"helm upgrade --install istiod istio-charts/istiod -n istio-system --set global.operatorManageWebhooks=true --wait --set global.hub=registry.example.com/istio",
			"kubectl apply -n springistiodemo -f -", "image registry.example.com/springbootapp:42", "image registry.example.com/springbootapp:43",
		}},
	} {
		t.Run(c.heading, func(t *testing.T) {
			lines, exports := section(t, c.heading)
			settings := append(exports, c.settings...)
			printed, calls, out, err := runQuickstart(t, quickstartPrograms, "exec bash hack/quickstart.sh", settings...)
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			if diff := cmp.Diff(lines, printed); diff != "" {
				t.Errorf("-%s +hack/quickstart.sh:\n%s", quickstartPage, diff)
			}
			_, copied, out, err := runQuickstart(t, quickstartPrograms, "set -e\n"+strings.Join(lines, "\n"), settings...)
			if err != nil {
				t.Fatalf("the commands of the page: %v\n%s", err, out)
			}
			if diff := cmp.Diff(copied, calls); diff != "" {
				t.Errorf("-calls of the page +calls of the script:\n%s", diff)
			}
			rest := strings.Join(calls, "\n")
			for _, call := range c.calls {
				_, after, found := strings.Cut(rest, call)
				if !found {
					t.Fatalf("no %q in this place of\n%s", call, strings.Join(calls, "\n"))
				}
				rest = after
			}
		})
	}
}

func TestQuickstartPrintsTheCommandsToTry(t *testing.T) {
	_, _, out, err := runQuickstart(t, quickstartPrograms, "exec bash hack/quickstart.sh", "CLUSTER=kind")
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	_, last, found := strings.Cut(out, "Try it:\n\n")
	if !found {
		t.Fatalf("it prints no commands to try:\n%s", out)
	}
	var printed []string
	for _, line := range strings.Split(strings.TrimSpace(last), "\n") {
		printed = append(printed, strings.TrimSpace(line))
	}
	lines, _ := section(t, "Try it")
	if diff := cmp.Diff(lines, printed); diff != "" {
		t.Errorf("-%s +hack/quickstart.sh:\n%s", quickstartPage, diff)
	}
}

func TestQuickstartSaysWhatIsMissing(t *testing.T) {
	for _, c := range []struct {
		meaning  string
		programs []string
		settings []string
		want     []string
	}{
		{"no kubectl", []string{"helm", "kind"}, nil, []string{"kubectl is not installed", "https://kubernetes.io/docs/tasks/tools/"}},
		{"no Helm", []string{"kubectl", "kind"}, nil, []string{"helm is not installed", "https://helm.sh/docs/intro/install/"}},
		{"no cluster", []string{"kubectl", "helm"}, nil, []string{"kind (https://kind.sigs.k8s.io)", "k3d (https://k3d.io)", "KUBECONFIG", "make demo"}},
		{"no kind", []string{"kubectl", "helm", "k3d"}, []string{"CLUSTER=kind"}, []string{"kind is not installed: https://kind.sigs.k8s.io"}},
		{"no k3d", []string{"kubectl", "helm", "kind"}, []string{"CLUSTER=k3d"}, []string{"k3d is not installed: https://k3d.io"}},
		{"no way to the nodes", []string{"kubectl", "helm"}, []string{"KUBECONFIG=config"}, []string{"REGISTRY=registry.example.com", "LOAD="}},
		{"unknown cluster", quickstartPrograms, []string{"CLUSTER=minikube"}, []string{"CLUSTER=minikube is unknown"}},
		{"unknown ISTIO", quickstartPrograms, []string{"CLUSTER=current", "REGISTRY=r", "ISTIO=Existing"}, []string{"ISTIO=Existing is unknown", "existing", "install"}},
		{"charts for an existing Istio", quickstartPrograms, []string{"CLUSTER=kind", "ISTIO=existing", "ISTIO_CHARTS=istio-charts"}, []string{"ISTIO_CHARTS", "Remove either"}},
		{"arguments for an existing Istio", quickstartPrograms, []string{"CLUSTER=kind", "ISTIO=existing", "ISTIO_ARGS=--debug"}, []string{"ISTIO_ARGS", "Remove either"}},
		{"a registry for kind", quickstartPrograms, []string{"CLUSTER=kind", "REGISTRY=registry.example.com"}, []string{"CLUSTER=kind", "REGISTRY have no effect", "CLUSTER=current"}},
		{"an image with a separator of sed", quickstartPrograms, []string{"CLUSTER=kind", "EXAMPLE_IMAGE=registry.example.com/a|b"}, []string{"EXAMPLE_IMAGE=registry.example.com/a|b is not the name of an image", "Example: EXAMPLE_IMAGE="}},
		{"an image with a tag", quickstartPrograms, []string{"CLUSTER=kind", "EXAMPLE_IMAGE=springbootapp:42"}, []string{"without its tag"}},
		{"a way to load for k3d", quickstartPrograms, []string{"CLUSTER=k3d", "LOAD=sudo k3s ctr images import"}, []string{"CLUSTER=k3d", "LOAD and"}},
	} {
		t.Run(c.meaning, func(t *testing.T) {
			_, calls, out, err := runQuickstart(t, c.programs, "exec bash hack/quickstart.sh", c.settings...)
			if err == nil || len(calls) > 0 {
				t.Errorf("it ends with %v after the calls %q", err, calls)
			}
			for _, want := range c.want {
				if !strings.Contains(out, want) {
					t.Errorf("%q is not in\n%s", want, out)
				}
			}
		})
	}
}

// What exists is used, and an installed Istio is left alone.
func TestQuickstartUsesWhatExists(t *testing.T) {
	printed, _, out, err := runQuickstart(t, quickstartPrograms, "exec bash hack/quickstart.sh", "CLUSTER=k3d", "ISTIO=existing", "FAKE_MISSING=0")
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, line := range printed {
		for _, unwanted := range []string{"cluster create", "create namespace s", "--install istio"} {
			if strings.Contains(line, unwanted) {
				t.Errorf("it runs %s", line)
			}
		}
	}
}

// Before anything is built, the script stops at a cluster that does not answer, and at an Istio that it may not upgrade.
func TestQuickstartLooksAtTheClusterFirst(t *testing.T) {
	for _, c := range []struct {
		meaning  string
		settings []string
		stops    string // in the output; empty if the script completes
		istio    bool   // whether Istio is installed
	}{
		{"no answer", []string{"FAKE_DOWN=1"}, "The last command failed", false},
		{"an istiod", []string{"FAKE_ISTIOD= mesh/istiod-stable"}, "deployment mesh/istiod-stable. Nothing was changed", false},
		{"an istiod to keep", []string{"FAKE_ISTIOD= mesh/istiod-stable", "ISTIO=existing"}, "", false},
		{"an istiod to upgrade", []string{"FAKE_ISTIOD= mesh/istiod-stable", "ISTIO=install"}, "", true},
		{"no istiod", nil, "", true},
	} {
		t.Run(c.meaning, func(t *testing.T) {
			settings := append(c.settings, "CLUSTER=current", "REGISTRY=registry.example.com")
			_, calls, out, err := runQuickstart(t, quickstartPrograms, "exec bash hack/quickstart.sh", settings...)
			made := strings.Join(calls, "\n")
			if (err != nil) != (c.stops != "") || !strings.Contains(out, c.stops) {
				t.Errorf("it ends with %v and prints\n%s", err, out)
			}
			if stopped := !strings.Contains(made, "make build image"); stopped != (c.stops != "") {
				t.Errorf("after %q, its calls are\n%s", c.stops, made)
			}
			if strings.Contains(made, "helm upgrade --install istiod") != c.istio {
				t.Errorf("whether Istio is installed is not %v:\n%s", c.istio, made)
			}
		})
	}
}

// A failed command ends the script, which prints the command's output, the cluster's warnings, and where to read on.
func TestQuickstartStopsAtAFailure(t *testing.T) {
	printed, _, out, err := runQuickstart(t, quickstartPrograms, `printf '#!/bin/sh\necho no chart found\nexit 1\n' >"$HOME/helm"; exec bash hack/quickstart.sh`, "CLUSTER=kind")
	if err == nil || !strings.Contains(out, "no chart found") || !strings.Contains(out, "Failed to pull image") || !strings.Contains(out, quickstartPage+"#if-a-step-fails") {
		t.Errorf("it ends with %v and prints\n%s", err, out)
	}
	if last := printed[len(printed)-1]; !strings.HasPrefix(last, "helm repo add") {
		t.Errorf("the last command is %s", last)
	}
	if !strings.Contains(read(t, quickstartPage), "\n## If a step fails\n") {
		t.Errorf("%s has no such section", quickstartPage)
	}
}

// Until the chosen cluster answers, kubectl's context may be that of another one, whose warnings are nobody's business here.
func TestQuickstartReportsWarningsOfItsClusterOnly(t *testing.T) {
	for _, c := range []struct {
		fails    string
		settings []string
	}{{"kind", []string{"CLUSTER=kind"}}, {"k3d", []string{"CLUSTER=k3d"}}, {"kubectl", []string{"CLUSTER=current", "REGISTRY=registry.example.com"}}} {
		script := `printf '#!/bin/sh\necho no Docker\nexit 1\n' >"$HOME/` + c.fails + `"; exec bash hack/quickstart.sh`
		_, calls, out, err := runQuickstart(t, quickstartPrograms, script, c.settings...)
		if err == nil || !strings.Contains(out, "no Docker") || !strings.Contains(out, "The last command failed.") || strings.Contains(out, "warnings of the cluster") {
			t.Errorf("%s fails: it ends with %v after the calls %q, and prints\n%s", c.fails, err, calls, out)
		}
	}
}

func TestQuickstartPassesShellcheck(t *testing.T) {
	shellcheck, err := exec.LookPath("shellcheck")
	if err != nil {
		t.Skip("shellcheck is not installed; install it to run this test, for example with apt-get install shellcheck")
	}
	if out, err := exec.CommandContext(t.Context(), shellcheck, "hack/quickstart.sh").CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
