// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// guides are the pages whose blocks marked "run" are run with the example, in the order in which a new user reads them.
var guides = []string{"README.md", "docs/howto/shift.md", "docs/howto/match.md", "docs/howto/mirror.md", "docs/howto/sticky.md",
	"docs/howto/expose.md", "docs/howto/blue-green.md", "docs/howto/roll-back.md", "docs/howto/move-from-istiod.md",
	"docs/howto/operate.md", "docs/howto/clouds.md", "docs/howto/certificates.md", "docs/reference/metrics.md",
	"docs/reference/troubleshooting.md", "docs/start/faq.md", "docs/howto/gitops.md"}

// concepts are the pages whose commands are about Bookinfo's Services.
var concepts = []string{"docs/understand/routing.md", "docs/understand/exposure.md", "docs/understand/own-objects.md"}

// notRun says, for each page with other blocks of commands, why those are not run here. TestCommandsInDocsExist
// checks their commands and flags.
var notRun = map[string]string{
	"docs/canary.md":                    "installs a metrics server, and follows canaries for minutes; the test of hack/demo runs the blocks marked demo",
	"README.md":                         "builds the image and installs into the reader's cluster; the lines that create the example run",
	"docs/howto/certificates.md":        "changes the certificate of the release, as test/release does",
	"docs/howto/clouds.md":              "changes a cloud's firewall, and the namespace that all tests use",
	"docs/howto/expose.md":              "needs openssl; the test writes the certificate itself",
	"docs/howto/mirror.md":              "reads the log of an Envoy; no container runs here",
	"docs/howto/move-from-istiod.md":    "installs releases of Istio and Outrigger, as test/release does",
	"docs/howto/operate.md":             "installs the release, as test/release does",
	"docs/howto/roll-back.md":           "aborts a canary, which the page does not start",
	"docs/howto/uninstall.md":           "removes the Outrigger that all tests use; test/release removes its own",
	"docs/howto/upgrade.md":             "upgrades the release, as test/release does; the answer about permissions depends on the user",
	"docs/reference/commands.md":        "made from the help of the commands, each of which has its own tests",
	"docs/reference/metrics.md":         "upgrades the release; test/alerts runs what the values render",
	"docs/reference/troubleshooting.md": "forwards a port of a pod until it is stopped",
	"docs/understand/scale.md":          "runs a benchmark for minutes",
}

// The README's example and the pages work as written: each command succeeds, and prints what the page shows. Only times,
// durations, and the spaces of tables may differ. It does not run in parallel, because one page exposes every host.
func TestDocsCommandsRun(t *testing.T) {
	needIstio(t)
	shell := newDocsShell(t)
	t.Cleanup(func() {
		for _, object := range []string{"namespace/springistiodemo", "gateways.networking.istio.io/shop", "secret/shop-tls"} {
			_, _ = cluster.Kubectl(context.Background(), nil, "delete", object, "-n", "istio-system", "--wait=false")
		}
	})
	setUp := 0
	for _, line := range readmeExample(t) {
		setUp++
		shell.once(t, line)
	}
	if setUp != 4 {
		t.Fatalf("the README's quick start creates and exposes the example with %d commands, not 4", setUp)
	}
	wantRoutes(t, "springistiodemo", "springbootapp", "v1=100")
	readyPods(t, "springistiodemo", "app=springbootapp", 2)
	for _, page := range guides {
		if !shell.page(t, page) {
			return // the next page begins where this one ends
		}
		if page == "README.md" {
			shell.once(t, "outrigger promote springbootapp v1 -n springistiodemo --wait")
		}
	}

	shell.useNamespace(t, namespace(t))
	shell.once(t, "kubectl create service clusterip reviews --tcp=9080 && kubectl create service clusterip ratings --tcp=9080")
	for _, page := range concepts {
		shell.page(t, page)
	}
}

// A page with commands is run, or notRun says why not.
func TestEachPageRunsOrSaysWhyNot(t *testing.T) {
	run := append(slices.Clone(guides), concepts...)
	for _, page := range commandPages(t) {
		text := readDocs(t, page)
		if others := strings.Count(text, "```sh\n"); (others > 0) != (notRun[page] != "") {
			t.Errorf("%s has %d blocks of commands that are not run; the reason in notRun is %q", page, others, notRun[page])
		}
		if blocks := len(runnableBlocks(text)); (blocks > 0) != slices.Contains(run, page) {
			t.Errorf("%s has %d blocks marked run; is among the pages that are run: %t", page, blocks, slices.Contains(run, page))
		}
	}
}

// commandPages returns the README and the pages of docs about tasks, without the decisions.
func commandPages(t *testing.T) []string {
	t.Helper()
	pages := []string{"README.md", "docs/canary.md"}
	for _, folder := range []string{"start", "howto", "understand", "reference"} {
		files, err := filepath.Glob(filepath.Join(outrigger.Root, "docs", folder, "*.md"))
		if err != nil || len(files) == 0 {
			t.Fatalf("docs/%s has the pages %v: %v", folder, files, err)
		}
		for _, file := range files {
			pages = append(pages, "docs/"+folder+"/"+filepath.Base(file))
		}
	}
	return pages
}

func TestRunnableBlocksAreFound(t *testing.T) {
	got := runnableBlocks("```sh\nno\n```\n```sh run\na \\\n  b\nc <<EOF\n  $ d\nEOF\n```\n1. x\n   ```console run\n" +
		"   $ c \\\n     e\n   out\n     put\n   $ d <<'END'\n   x: |\n     y\n   END\n   …\n   done\n   ```\n")
	want := [][]docsStep{
		{{command: "a \\\n  b\nc <<EOF\n  $ d\nEOF\n"}},
		{{command: "c \\\n  e\n", output: []string{"out", "put"}}, {command: "d <<'END'\nx: |\n  y\nEND\n", output: []string{"done"}}},
	}
	if fmt.Sprintf("%q", got) != fmt.Sprintf("%q", want) {
		t.Errorf("want %q, got %q", want, got)
	}
	step := docsStep{output: []string{"written at 2026-11-24T09:38:27Z", "a   b", "applied (waited 2s for the proxies)"}}
	if missing := step.missing("x\nwritten at 2027-01-02T03:04:05Z\n  a b\n…\napplied (waited 500ms for the proxies)\n"); missing != "" {
		t.Errorf("%q was found missing", missing)
	}
	if missing := step.missing("a b\nwritten at 2027-01-02T03:04:05Z\n"); missing != "a   b" {
		t.Errorf("the order matters: got %q", missing)
	}
}

// docsStep is a command, which may have several lines, and what the page shows as its output.
type docsStep struct {
	command string
	output  []string
}

var (
	runnableBlock = regexp.MustCompile("(?ms)^( *)```(sh|console) run\n(.*?)^ *```$")
	hereDocument  = regexp.MustCompile(`<<['"]?(\w+)`)
)

// runnableBlocks returns the steps of a page's blocks that are marked "run". A block of sh is one script, and so one step.
func runnableBlocks(page string) (blocks [][]docsStep) {
	for _, found := range runnableBlock.FindAllStringSubmatch(page, -1) {
		text := strings.ReplaceAll("\n"+found[3], "\n"+found[1], "\n")[1:]
		if found[2] == "sh" {
			blocks = append(blocks, []docsStep{{command: text}})
			continue
		}
		blocks = append(blocks, consoleSteps(text))
	}
	return blocks
}

// consoleSteps returns the commands after prompts and their output. A command continues after a backslash, and until its here
// document ends.
func consoleSteps(text string) (steps []docsStep) {
	continues, end := false, "" // end is the line with which the here document ends
	for line := range strings.Lines(text) {
		code := strings.TrimSpace(line)
		command, prompted := strings.CutPrefix(line, "$ ")
		switch {
		case end != "":
			steps[len(steps)-1].command += line
			if code == end {
				end = ""
			}
		case prompted || continues:
			if prompted {
				steps = append(steps, docsStep{})
			}
			steps[len(steps)-1].command += command
			continues = strings.HasSuffix(code, "\\")
			if found := hereDocument.FindStringSubmatch(code); found != nil {
				end = found[1]
			}
		case len(steps) > 0 && code != "" && code != "…":
			last := &steps[len(steps)-1]
			last.output = append(last.output, code)
		}
	}
	return steps
}

var changing = regexp.MustCompile(`\d{4}-\d\d-\d\dT[\d:]+Z|\d+(\.\d+)?m?s\b`)

// missing returns the first line of the page's output that the real output does not have, in the same order.
func (s docsStep) missing(output string) string {
	plain := func(line string) string { return cells(changing.ReplaceAllString(line, "TIME")) }
	lines := strings.Split(plain(output), "\n")
	for _, want := range s.output {
		for {
			if len(lines) == 0 {
				return want
			}
			line := lines[0]
			if lines = lines[1:]; line == plain(want) {
				break
			}
		}
	}
	return ""
}

// docsShell runs commands in a folder with what the pages expect there: the repository's chart and examples, and a certificate.
// outrigger, kubectl, and helm are in the path.
type docsShell struct {
	dir string
	env []string
}

// placeholders are the words that readers replace.
var placeholders = strings.NewReplacer("deployment/NAME", "deployment/springbootapp-v1", "service/NAME", "service/springbootapp",
	"NAMESPACE", "springistiodemo", "FILE", "examples/springbootapp/app.yaml")

func newDocsShell(t *testing.T) *docsShell {
	t.Helper()
	bin, dir := t.TempDir(), t.TempDir()
	links := map[string]string{filepath.Join(bin, "outrigger"): outrigger.Binary}
	for _, program := range []string{"kubectl", "helm"} {
		links[filepath.Join(bin, program)] = cluster.Assets[program]
	}
	for _, folder := range []string{"charts", "examples"} {
		links[filepath.Join(dir, folder)] = filepath.Join(outrigger.Root, folder)
	}
	for link, to := range links {
		if err := os.Symlink(to, link); err != nil {
			t.Fatal(err)
		}
	}
	shop := newCA(t, "shop.example.com", time.Now(), time.Now().Add(time.Hour))
	for name, data := range map[string][]byte{"shop.crt": shop.certPEM(), "shop.key": shop.keyPEM(t)} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	env := append(os.Environ(), cluster.Env()...)
	return &docsShell{dir: dir, env: append(env, "PATH="+bin+":"+os.Getenv("PATH"))}
}

// useNamespace makes a namespace the one of commands that name none.
func (s *docsShell) useNamespace(t *testing.T, namespace string) {
	t.Helper()
	config := filepath.Join(s.dir, "kubeconfig")
	s.once(t, "kubectl config view --raw > "+config+" && kubectl config set-context --current --namespace="+namespace+" --kubeconfig="+config)
	s.env = append(s.env, "KUBECONFIG="+config)
}

// page runs the blocks of a page, and reports whether all of them work.
func (s *docsShell) page(t *testing.T, page string) bool {
	t.Helper()
	return t.Run(strings.TrimSuffix(filepath.Base(page), ".md"), func(t *testing.T) {
		blocks := runnableBlocks(readDocs(t, page))
		if len(blocks) == 0 {
			t.Fatalf("%s has no block marked run", page)
		}
		for _, block := range blocks {
			for _, step := range block {
				s.run(t, step)
			}
		}
	})
}

// differences lets "outrigger diff" report a difference by its exit status, as diff does.
const differences = `outrigger() { command outrigger "$@" || [ "$1 $?" = "diff 1" ]; }` + "\n"

func (s *docsShell) output(t *testing.T, script string) (string, error) {
	t.Helper()
	command := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", differences+placeholders.Replace(script))
	command.Dir, command.Env = s.dir, s.env
	out, err := command.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s: %w\n%s", script, err, out)
	}
	return string(out), nil
}

func (s *docsShell) once(t *testing.T, line string) string {
	t.Helper()
	out, err := s.output(t, line)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// reads matches a command that changes nothing.
var reads = regexp.MustCompile(`^(outrigger (status|explain|check|coverage)|kubectl (get|describe)) [^\n]*\n$`)

// run runs a step. What only reads is repeated until it prints what the page shows.
func (s *docsShell) run(t *testing.T, step docsStep) {
	t.Helper()
	check := func(out string) error {
		if missing := step.missing(out); missing != "" {
			return fmt.Errorf("%s does not print %q, but:\n%s", step.command, missing, out)
		}
		return nil
	}
	if !reads.MatchString(step.command) {
		if err := check(s.once(t, step.command)); err != nil {
			t.Fatal(err)
		}
		return
	}
	eventually(t, step.command, func() error {
		out, err := s.output(t, step.command)
		if err != nil {
			return err
		}
		return check(out)
	})
}

// readmeExample returns the commands of the README's quick start that create the example.
func readmeExample(t *testing.T) (lines []string) {
	t.Helper()
	_, section, _ := strings.Cut(readDocs(t, "README.md"), "\n## Quick start")
	section, _, _ = strings.Cut(section, "\n## ")
	for line := range strings.Lines(section) {
		if strings.HasPrefix(line, "kubectl ") && !strings.HasPrefix(line, "kubectl port-forward ") { // no gateway runs here
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return lines
}

func readDocs(t *testing.T, page string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(outrigger.Root, page))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
