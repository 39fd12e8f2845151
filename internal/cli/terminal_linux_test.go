// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"outrigger.dev/outrigger/internal/diagnose"
)

// terminal returns the two ends of a pseudo-terminal: what is written to the second is read from the first.
func terminal(t *testing.T) (*os.File, *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = master.Close() })
	control := func(request uintptr, value *int32) {
		if _, _, fault := syscall.Syscall(syscall.SYS_IOCTL, master.Fd(), request, uintptr(unsafe.Pointer(value))); fault != 0 { //nolint:gosec // how ioctl takes an argument
			t.Fatal(fault)
		}
	}
	var number, locked int32
	control(syscall.TIOCSPTLCK, &locked)
	control(syscall.TIOCGPTN, &number)
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = slave.Close() })
	return master, slave
}

// Color and signs are for terminals, and off with NO_COLOR; a program reads what it always read.
func TestColorIsForTerminalsOnly(t *testing.T) {
	t.Setenv("TERM", "xterm")
	t.Setenv("NO_COLOR", "")
	_ = os.Unsetenv("NO_COLOR")
	report := diagnose.StatusReport{Namespaces: []diagnose.NamespaceStatus{{Name: "demo", Problems: []diagnose.ProblemStatus{{Object: "Namespace demo", Reason: "InvalidValue", Message: "It is wrong."}}}}}
	show := func(out io.Writer) {
		if err := printStatus(report, tableView{style: styleOf(out)}, out); err != nil {
			t.Fatal(err)
		}
		printFindings([]diagnose.Finding{diagnose.OK("one"), diagnose.Failed("two"), diagnose.Warned("three"), diagnose.Note("four")}, out)
	}
	var file bytes.Buffer
	show(&file)
	if want := "NAMESPACE   INJECTION   ROUTING   SERVICES\ndemo        -           -         0\n\nInvalidValue: Namespace demo: It is wrong.\nok      one\nFAILED  two\nwarning three\nnote    four\n"; file.String() != want {
		t.Errorf("want %q, got %q", want, file.String())
	}

	master, slave := terminal(t)
	read := func() string {
		show(slave)
		_, _ = fmt.Fprintln(slave, "end") // the reader waits for it
		var out strings.Builder
		buffer := make([]byte, 4096)
		for !strings.HasSuffix(out.String(), "end\r\n") {
			n, err := master.Read(buffer)
			if err != nil {
				t.Fatal(err)
			}
			out.Write(buffer[:n])
		}
		return out.String()
	}
	colored := read()
	for _, want := range []string{bold + "NAMESPACE", red + "✗ InvalidValue" + plain + ": Namespace demo", green + "✓ ok     " + plain + " one", red + "✗ FAILED " + plain + " two", yellow + "! warning" + plain + " three"} {
		if !strings.Contains(colored, want) {
			t.Errorf("%q is not in %q", want, colored)
		}
	}
	t.Setenv("NO_COLOR", "1")
	if got := strings.ReplaceAll(read(), "\r\n", "\n"); got != file.String()+"end\n" {
		t.Errorf("with NO_COLOR there is %q", got)
	}
}
