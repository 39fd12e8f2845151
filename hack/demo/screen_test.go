package main

import (
	"fmt"
	"strings"
	"testing"
)

func TestHeadingsAreNumberedInOrder(t *testing.T) {
	for i, step := range steps {
		if i > 0 && !strings.HasPrefix(step.title, fmt.Sprintf("%d. ", i)) {
			t.Errorf("heading %d is %q", i, step.title)
		}
	}
}

func TestLongOutputIsCutAndTheEndSumsUp(t *testing.T) {
	var out strings.Builder
	s := &screen{out: &out}
	s.heading("1. Look")
	s.command("kubectl get pods", strings.Repeat("line\n", longest+7))
	s.command("kubectl get nodes", "")
	s.right("there are %d pods", 31)
	s.right("none fails")
	s.heading("2. Go on")
	s.right("it goes on")
	if got := strings.Count(out.String(), "    line\n"); got != longest || !strings.Contains(out.String(), "… 7 more lines") {
		t.Errorf("%d lines are shown:\n%s", got, out.String())
	}
	out.Reset()
	s.summary("Summary")
	want := "\nSummary\n───────\n1. Look\n  ✓ there are 31 pods\n  ✓ none fails\n2. Go on\n  ✓ it goes on\n"
	if out.String() != want {
		t.Errorf("the summary is\n%s\nwant\n%s", out.String(), want)
	}
}
