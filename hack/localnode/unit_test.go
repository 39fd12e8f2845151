// SPDX-License-Identifier: Apache-2.0

package localnode

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

func TestExpand(t *testing.T) {
	values := map[string]string{"A": "one", "B": ""}
	for text, want := range map[string]string{
		"":                "",
		"plain":           "plain",
		"$(A)":            "one",
		"x$(A)y$(A)":      "xoneyone",
		"[$(B)]":          "[]",
		"$(UNKNOWN)":      "$(UNKNOWN)",
		"$$(A)":           "$(A)",
		"$A $( $(":        "$A $( $(",
		"--listen=$(A):1": "--listen=one:1",
	} {
		if got := expand(text, values); got != want {
			t.Errorf("expand(%q) = %q, want %q", text, got, want)
		}
	}
}

func TestPathsOfVolumesAreReplacedAsWholePaths(t *testing.T) {
	v := &volumes{pod: &pod{dir: "/D"}}
	container := corev1.Container{VolumeMounts: []corev1.VolumeMount{
		{Name: "etc", MountPath: "/etc/app"}, {Name: "deep", MountPath: "/etc/app/deep/"}, {Name: "sub", MountPath: "/one", SubPath: "file.yaml"},
	}}
	for text, want := range map[string]string{
		"/etc/app":                          "/D/volumes/etc",
		"--config=/etc/app/config.yaml":     "--config=/D/volumes/etc/config.yaml",
		"/etc/app/deep/x":                   "/D/volumes/deep/x",
		"/etc/application":                  "/etc/application",
		"/other/etc/app":                    "/other/etc/app",
		"/one":                              "/D/volumes/sub/file.yaml",
		"a=/etc/app,b=/etc/app/deep,c=/etc": "a=/D/volumes/etc,b=/D/volumes/deep,c=/etc",
		"":                                  "",
	} {
		if got := v.place(container, text); got != want {
			t.Errorf("place(%q) = %q, want %q", text, got, want)
		}
	}
}

func TestContainersReachTheAPIServerWhereTheyAreTold(t *testing.T) {
	container := corev1.Container{Name: "app", VolumeMounts: []corev1.VolumeMount{{Name: "token", MountPath: tokenPath}}}
	for told, want := range map[string]string{"": "https://127.0.0.1:6443", "https://127.0.0.1:7443": "https://127.0.0.1:7443"} {
		node := &Node{options: Options{Config: &rest.Config{Host: "https://127.0.0.1:6443"}, APIServer: told}}
		path, err := (&volumes{pod: &pod{node: node, dir: t.TempDir()}}).kubeconfig(container)
		if err != nil {
			t.Fatal(err)
		}
		config, err := clientcmd.LoadFromFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := config.Clusters["cluster"].Server; got != want {
			t.Errorf("told %q, containers ask %s, want %s", told, got, want)
		}
	}
}

func TestBlocksOfAddressesNeverOverlap(t *testing.T) {
	one, err := reserveBlock()
	if err != nil {
		t.Fatal(err)
	}
	defer one.release()
	two, err := reserveBlock()
	if err != nil {
		t.Fatal(err)
	}
	defer two.release()
	seen := map[string]bool{}
	for _, block := range []*addressBlock{one, two} {
		for range 253 {
			number, err := block.take()
			if err != nil {
				t.Fatal(err)
			}
			shown, local := block.pair(number)
			if seen[local] || seen[shown] {
				t.Fatalf("%s was given twice", local)
			}
			seen[local], seen[shown] = true, true
			if got := block.local(shown); got != local {
				t.Fatalf("local(%s) = %q, want %q", shown, got, local)
			}
		}
		if _, err := block.take(); err == nil {
			t.Fatal("a 254th address was given")
		}
	}
	shown, _ := two.pair(1)
	if got := one.local(shown); got != "" {
		t.Errorf("an address of another node is known: %s", got)
	}
	one.free(7)
	if number, err := one.take(); err != nil || number != 7 {
		t.Errorf("take() = %d, %v after 7 was given back", number, err)
	}
}

func TestProbeThresholds(t *testing.T) {
	bad := errors.New("bad")
	tests := map[string]struct {
		success, failure int32
		answers          []error
		want             []bool
	}{
		"first good answer counts":                   {1, 3, []error{nil}, []bool{true}},
		"one bad answer of three is nothing":         {1, 3, []error{nil, bad, bad, nil}, []bool{true}},
		"three bad answers in a row":                 {1, 3, []error{nil, bad, bad, bad, bad}, []bool{true, false}},
		"bad from the beginning":                     {1, 2, []error{bad, bad}, []bool{false}},
		"back again":                                 {1, 1, []error{nil, bad, nil}, []bool{true, false, true}},
		"two good answers needed":                    {2, 1, []error{nil, nil}, []bool{true}},
		"two good answers needed, not one after one": {2, 2, []error{nil, bad, nil, nil}, []bool{true}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var got []bool
			calls := 0
			watch(ctx, corev1.Probe{PeriodSeconds: 1, SuccessThreshold: test.success, FailureThreshold: test.failure},
				func(context.Context, corev1.Probe) error {
					if calls == len(test.answers) {
						cancel()
						return nil
					}
					calls++
					return test.answers[calls-1]
				}, func(good bool, _ error) { got = append(got, good) })
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("changes (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTailOfALog(t *testing.T) {
	for count, want := range map[int]string{0: "", 1: "c\n", 2: "b\nc\n", 9: "a\nb\nc\n"} {
		if got := string(tail([]byte("a\nb\nc\n"), count)); got != want {
			t.Errorf("tail(%d) = %q, want %q", count, got, want)
		}
	}
	if got := string(tail(nil, 3)); got != "" {
		t.Errorf("tail of nothing = %q", got)
	}
}

// TestProcessesDieWithTheirParent starts this test binary again as a parent that starts a child, and kills the parent.
func TestProcessesDieWithTheirParent(t *testing.T) {
	if os.Getenv("LOCALNODE_PARENT") != "" {
		run, err := startProcess(exec.Command("sleep", "1000"), os.Stderr)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Println("child", run.cmd.Process.Pid)
		<-run.done
		return
	}
	parent := exec.Command(os.Args[0], "-test.run", "^TestProcessesDieWithTheirParent$")
	parent.Env = append(os.Environ(), "LOCALNODE_PARENT=1")
	out, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	child := 0
	for lines := bufio.NewScanner(out); child == 0 && lines.Scan(); {
		if text, ok := strings.CutPrefix(lines.Text(), "child "); ok {
			if child, err = strconv.Atoi(text); err != nil {
				t.Fatal(err)
			}
		}
	}
	if child == 0 {
		t.Fatal("the parent named no child")
	}
	if err := syscall.Kill(child, 0); err != nil {
		t.Fatalf("the child does not run: %v", err)
	}
	_ = parent.Process.Kill()
	_ = parent.Wait()
	for deadline := time.Now().Add(10 * time.Second); running(child); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			_ = syscall.Kill(child, syscall.SIGKILL)
			t.Fatal("the child outlived its parent by 10 seconds")
		}
	}
}

// running says whether a process is there and is not a zombie that nobody has collected.
func running(pid int) bool {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(status), ") ")
	return !strings.HasPrefix(rest, "Z")
}
