// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
)

// What govulncheck prints, shortened: one vulnerability that is called, in two modules and by two ways, one in a package
// that is only imported, and one in a module that is only required.
const affected = `
{"config": {"scanner_name": "govulncheck", "go_version": "go1.26.8", "db_last_modified": "2026-11-05T23:49:57Z"}}
{"progress": {"message": "Checking the code against the vulnerabilities..."}}
{"osv": {"id": "GO-2026-0002", "summary": "Server crash"}}
{"osv": {"id": "GO-2026-0001", "summary": "Something else"}}
{"osv": {"id": "GO-2026-0003", "summary": "Third"}}
{"finding": {"osv": "GO-2026-0003", "fixed_version": "v2.0.0", "trace": [{"module": "example.test/c", "version": "v1.0.0"}]}}
{"finding": {"osv": "GO-2026-0001", "fixed_version": "v2.0.0", "trace": [{"module": "example.test/a", "version": "v1.0.0", "package": "example.test/a/b"}]}}
{"finding": {"osv": "GO-2026-0002", "fixed_version": "v0.60.0", "trace": [
  {"module": "example.test/net", "version": "v0.57.0", "package": "example.test/net/http2", "function": "Serve"},
  {"module": "outrigger.dev/outrigger", "package": "outrigger.dev/outrigger/cmd/outrigger", "function": "run", "position": {"filename": "cmd/outrigger/main.go", "line": 25}}]}}
{"finding": {"osv": "GO-2026-0002", "fixed_version": "v1.26.9", "trace": [
  {"module": "stdlib", "version": "v1.26.8", "package": "net/http", "function": "Serve"},
  {"module": "outrigger.dev/outrigger", "package": "outrigger.dev/outrigger/api", "function": "X", "position": {"filename": "api/x.go", "line": 1}}]}}
`

const clean = `{"config": {"go_version": "go1.26.10"}}
{"finding": {"osv": "GO-2026-0003", "trace": [{"module": "example.test/c", "version": "v1.0.0"}]}}`

func TestRun(t *testing.T) {
	none := source{"one place", func(context.Context) (string, error) { return "", errors.New("cannot be reached") }}
	there := source{"another place", func(context.Context) (string, error) { return "file:///db", nil }}
	never := source{"a third place", func(context.Context) (string, error) {
		t.Error("a source after the first that has one is asked")
		return "", nil
	}}
	for name, test := range map[string]struct {
		sources []source
		stream  string
		err     error
		code    int
		says    []string
	}{
		"affected": {[]source{none, there, never}, affected, nil, 1, []string{
			"another place (of 2026-11-05), built with Go 1.26.8",
			"GO-2026-0002: Server crash", "https://pkg.go.dev/vuln/GO-2026-0002",
			"in example.test/net v0.57.0, fixed in v0.60.0; stdlib v1.26.8, fixed in v1.26.9",
			"by way of cmd/outrigger/main.go:25 (outrigger.dev/outrigger/cmd/outrigger.run)", "\n1 known vulnerabilities",
		}},
		"clean":           {[]source{there}, clean, nil, 0, []string{"of unknown age", "no known vulnerability"}},
		"no database":     {[]source{none, none}, affected, nil, 0, []string{"SKIPPED: govulncheck", "NOTHING WAS LOOKED FOR", "one place: cannot be reached"}},
		"it fails":        {[]source{there}, "", errors.New("does not compile"), 2, []string{"does not compile"}},
		"it says nothing": {[]source{there}, "", nil, 2, []string{"it checked nothing"}},
		"no JSON":         {[]source{there}, "panic:", nil, 2, []string{"what govulncheck prints"}},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			code := run(t.Context(), &out, test.sources, func(_ context.Context, database string) ([]byte, error) {
				if database != "file:///db" {
					t.Errorf("the database is %s", database)
				}
				return []byte(test.stream), test.err
			})
			if code != test.code {
				t.Errorf("it ends with %d, want %d", code, test.code)
			}
			for _, want := range test.says {
				if !strings.Contains(out.String(), want) {
					t.Errorf("it does not say %q:\n%s", want, out.String())
				}
			}
			if strings.Contains(out.String(), "GO-2026-0001") || strings.Contains(out.String(), "GO-2026-0003") {
				t.Errorf("what is not called is told:\n%s", out.String())
			}
		})
	}
}
