// SPDX-License-Identifier: Apache-2.0

// Command vuln looks for known vulnerabilities in what Outrigger calls, with govulncheck. It ends with 1 where there is one,
// with 2 where the search itself failed, and with 0 where there is none, or where no database of vulnerabilities can be
// had: then it says in so many words that nothing was looked for.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

func main() {
	root := flag.String("root", "..", "folder of the repository")
	checker := flag.String("govulncheck", "", "path of govulncheck")
	flag.Parse()
	os.Exit(run(context.Background(), os.Stdout, databases(), func(ctx context.Context, database string) ([]byte, error) {
		command := exec.CommandContext(ctx, *checker, "-format", "json", "-db", database, "./...")
		command.Dir = *root
		var stderr bytes.Buffer
		command.Stderr = &stderr
		out, err := command.Output()
		if err != nil {
			return nil, fmt.Errorf("govulncheck: %w\n%s", err, stderr.Bytes())
		}
		return out, nil
	}))
}

// source is a place that a database can be had from.
type source struct {
	name string
	find func(context.Context) (url string, err error)
}

// run asks the first source that has a database, and returns the exit code.
func run(ctx context.Context, out io.Writer, sources []source, check func(ctx context.Context, database string) ([]byte, error)) int {
	var without []string
	for _, s := range sources {
		database, err := s.find(ctx)
		if err != nil {
			without = append(without, fmt.Sprintf("  %s: %v", s.name, err))
			continue
		}
		stream, err := check(ctx, database)
		if err != nil {
			_, _ = fmt.Fprintln(out, err)
			return 2
		}
		found, checked, err := findings(stream)
		if err != nil {
			_, _ = fmt.Fprintln(out, err)
			return 2
		}
		_, _ = fmt.Fprintf(out, "govulncheck, with the database of %s (%s), built with Go %s:\n", s.name, checked.modified, checked.goVersion)
		for _, f := range found {
			_, _ = fmt.Fprintf(out, "\n%s\n", f)
		}
		if len(found) > 0 {
			_, _ = fmt.Fprintf(out, "\n%d known vulnerabilities in what Outrigger calls\n", len(found))
			return 1
		}
		_, _ = fmt.Fprintln(out, "no known vulnerability in what Outrigger calls")
		return 0
	}
	_, _ = fmt.Fprintf(out, "SKIPPED: govulncheck. No database of vulnerabilities can be had here, so NOTHING WAS LOOKED FOR:\n%s\n", strings.Join(without, "\n"))
	return 0
}

// databases are the sources in the order of preference: that which the user names, Go's own, and the module that Go's own is
// made from, for places that reach nothing but a proxy of Go modules. govulncheck reads its folder as it is.
func databases() []source {
	const live, module = "https://vuln.go.dev", "golang.org/x/vulndb"
	return []source{
		{"GOVULNDB", func(context.Context) (string, error) {
			if url := os.Getenv("GOVULNDB"); url != "" {
				return url, nil
			}
			return "", errors.New("is not set")
		}},
		{live, func(ctx context.Context) (string, error) {
			ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
			defer cancel()
			request, err := http.NewRequestWithContext(ctx, http.MethodGet, live+"/index/db.json", nil)
			if err != nil {
				return "", err
			}
			response, err := http.DefaultClient.Do(request)
			if err != nil {
				return "", err
			}
			defer func() { _ = response.Body.Close() }()
			if response.StatusCode != http.StatusOK {
				return "", errors.New(response.Status)
			}
			return live, nil
		}},
		{"module " + module, func(ctx context.Context) (string, error) {
			command := exec.CommandContext(ctx, "go", "mod", "download", "-json", module+"@latest")
			command.Dir, command.Env = os.TempDir(), append(os.Environ(), "GOWORK=off", "GOFLAGS=-mod=mod")
			out, runErr := command.Output()
			var downloaded struct{ Dir, Error string }
			if err := json.Unmarshal(out, &downloaded); err != nil || downloaded.Dir == "" {
				return "", errors.Join(runErr, errors.New(downloaded.Error))
			}
			return "file://" + filepath.ToSlash(filepath.Join(downloaded.Dir, "data", "osv")), nil
		}},
	}
}

// check is what a run of govulncheck was made with.
type check struct{ goVersion, modified string }

// finding is a vulnerability in a function that Outrigger calls.
type finding struct {
	id, summary string
	where       []string // "MODULE VERSION, fixed in VERSION", each once
	by          string   // our place that the first way to it begins at
}

func (f finding) String() string {
	return fmt.Sprintf("%s: %s\n  https://pkg.go.dev/vuln/%s\n  in %s\n  for one, by way of %s", f.id, f.summary, f.id, strings.Join(f.where, "; "), f.by)
}

// findings reads what govulncheck prints with -format json: vulnerabilities whose function is called, in the order of their
// names. Those in packages that are only imported, or in modules that are only required, are none.
func findings(stream []byte) ([]finding, check, error) {
	var checked check
	summaries, byID := map[string]string{}, map[string]*finding{}
	for decoder := json.NewDecoder(bytes.NewReader(stream)); ; {
		var message struct {
			Config *struct {
				GoVersion    string    `json:"go_version"`
				LastModified time.Time `json:"db_last_modified"`
			} `json:"config"`
			OSV *struct {
				ID, Summary string
			} `json:"osv"`
			Finding *struct {
				OSV   string `json:"osv"`
				Fixed string `json:"fixed_version"`
				Trace []frame
			} `json:"finding"`
		}
		if err := decoder.Decode(&message); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, check{}, fmt.Errorf("what govulncheck prints: %w", err)
		}
		switch {
		case message.Config != nil:
			checked = check{strings.TrimPrefix(message.Config.GoVersion, "go"), "of " + message.Config.LastModified.Format(time.DateOnly)}
			if message.Config.LastModified.IsZero() {
				checked.modified = "of unknown age"
			}
		case message.OSV != nil:
			summaries[message.OSV.ID] = message.OSV.Summary
		case message.Finding != nil && len(message.Finding.Trace) > 0 && message.Finding.Trace[0].Function != "":
			f := message.Finding
			if byID[f.OSV] == nil {
				byID[f.OSV] = &finding{id: f.OSV, summary: summaries[f.OSV], by: f.Trace[len(f.Trace)-1].String()}
			}
			place := fmt.Sprintf("%s %s, fixed in %s", f.Trace[0].Module, f.Trace[0].Version, f.Fixed)
			if f.Fixed == "" {
				place = fmt.Sprintf("%s %s, not fixed yet", f.Trace[0].Module, f.Trace[0].Version)
			}
			if !slices.Contains(byID[f.OSV].where, place) {
				byID[f.OSV].where = append(byID[f.OSV].where, place)
			}
		}
	}
	var out []finding
	for _, f := range byID {
		out = append(out, *f)
	}
	slices.SortFunc(out, func(a, b finding) int { return strings.Compare(a.id, b.id) })
	if checked.goVersion == "" {
		return nil, check{}, errors.New("govulncheck printed no configuration: it checked nothing")
	}
	return out, checked, nil
}

// frame is one call on the way to a vulnerable function.
type frame struct {
	Module, Version, Package, Function, Receiver string
	Position                                     struct {
		Filename string
		Line     int
	}
}

func (f frame) String() string {
	return fmt.Sprintf("%s:%d (%s.%s)", f.Position.Filename, f.Position.Line, f.Package, f.Function)
}
