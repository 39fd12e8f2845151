// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/internal/diagnose"
)

// tableView selects the content of tables.
type tableView struct {
	gaps       diagnose.Gaps         // what the user may not read
	flags      diagnose.ClusterFlags // that the commands in the tables need
	wide       bool
	namespaces bool // with a column for the namespace
	headless   bool // without headings
	style      style
}

// statusPrinter parses -o.
func statusPrinter(output string) (func(diagnose.StatusReport, tableView, io.Writer) error, error) {
	if output == "name" {
		return printNames, nil
	}
	encode, err := encoderFor(output, "name")
	if encode == nil {
		return printStatus, err
	}
	return func(report diagnose.StatusReport, _ tableView, out io.Writer) error {
		return writeEncoded(out, encode, report)
	}, nil
}

// printStatus writes whether a controller is missing, and then each table that has rows.
func printStatus(report diagnose.StatusReport, view tableView, out io.Writer) error {
	p := &tables{out: out, view: view}
	for _, text := range []string{report.Frozen, report.NotRunning} {
		if text != "" {
			p.line(view.style.warn(view.flags.CompleteText(text)))
			p.some = true
		}
	}
	p.namespaces(report.Namespaces)
	p.versions(report.Namespaces)
	p.canaries(report.Namespaces, report.At)
	p.pending(report.Namespaces)
	p.history(report.Namespaces)
	p.routes(report.Namespaces)
	p.gateways(report.Namespaces)
	p.restarts(report.Namespaces)
	p.certificates(report.Certificates)
	p.problems(report.Namespaces, report.Certificates)
	return p.err
}

func (p *tables) namespaces(namespaces []diagnose.NamespaceStatus) {
	var rows [][]string
	for _, n := range namespaces {
		rows = append(rows, []string{n.Name, cmp.Or(n.Injection, "-"), cmp.Or(n.Routing, "-"), strconv.Itoa(len(n.Services))})
	}
	p.table([]string{"NAMESPACE", "INJECTION", "ROUTING", "SERVICES"}, rows)
}

func (p *tables) versions(namespaces []diagnose.NamespaceStatus) {
	heading := p.at("NAMESPACE", "SERVICE", "STATE", "VERSION", "READY", "WEIGHT", "MATCH")
	if p.view.wide {
		heading = append(heading, "DEFAULT", "SUBSET", "MIRROR", "WORKLOADS")
	}
	var rows [][]string
	eachService(namespaces, func(namespace string, s diagnose.ServiceStatus) {
		if len(s.Versions) == 0 {
			s.Versions = []diagnose.VersionStatus{{Version: "-"}}
		}
		for _, v := range s.Versions {
			rows = append(rows, p.at(namespace, p.version(s, v)...))
		}
	})
	p.table(heading, rows)
}

func (p *tables) version(s diagnose.ServiceStatus, v diagnose.VersionStatus) []string {
	version, weight := v.Version, "by pods"
	if version == "" {
		version = "<none>"
	}
	switch {
	case v.Weight != nil:
		weight = strconv.Itoa(*v.Weight)
	case v.Pods == 0:
		weight = "-"
	case s.State == diagnose.StateUnknown:
		weight = "?"
	}
	row := []string{s.Name, s.State, version, fmt.Sprintf("%d/%d", v.Ready, v.Pods), weight, cmp.Or(strings.Join(v.Match, "; "), "-")}
	if p.view.wide {
		row = append(row, cmp.Or(s.Default, "-"), cmp.Or(v.Subset, "-"), percent(v.Mirror), cmp.Or(strings.Join(v.Workloads, ","), "-"))
	}
	return row
}

// autoText says that auto is on.
const autoText = "each new version starts a canary (" + api.AnnotationCanary + "=" + api.CanaryAuto + ")"

// canaries prints a line for each canary, for what changes when a freeze ends, and for the settings that the success of a canary has superseded.
func (p *tables) canaries(namespaces []diagnose.NamespaceStatus, now time.Time) {
	var lines []string
	eachService(namespaces, func(namespace string, s diagnose.ServiceStatus) {
		if s.Canary != nil {
			lines = append(lines, "Service "+namespace+"/"+s.Name+": "+s.Canary.Line(now))
		}
		if s.WhenThawed != "" {
			lines = append(lines, "Service "+namespace+"/"+s.Name+": when the freeze ends: "+s.WhenThawed)
		}
		if s.AutoCanaries {
			lines = append(lines, "Service "+namespace+"/"+s.Name+": "+autoText)
		}
		if text := s.SupersededText(); text != "" {
			lines = append(lines, "Service "+namespace+"/"+s.Name+": "+text)
		}
		if advice := s.SupersededAdvice(); advice != "" {
			lines = append(lines, "    "+p.view.flags.CompleteText(advice))
		}
	})
	if len(lines) > 0 && p.some {
		p.line("")
	}
	for _, line := range lines {
		p.line(line)
	}
}

// pending lists what is written and not in effect, and what it waits for.
func (p *tables) pending(namespaces []diagnose.NamespaceStatus) {
	var rows [][]string
	eachService(namespaces, func(namespace string, s diagnose.ServiceStatus) {
		for _, pending := range s.Pending {
			if pending.Annotation == api.AnnotationCanary && s.Canary != nil {
				continue // canaries says what it waits for
			}
			rows = append(rows, p.at(namespace, s.Name, strings.TrimPrefix(pending.Annotation, api.Domain+"/"), cmp.Or(pending.Value, "-"), strings.Join(pending.Missing, ", ")))
		}
	})
	p.table(p.at("NAMESPACE", "SERVICE", "PENDING", "VALUE", "WAITS FOR"), rows)
}

// routes lists which VirtualServices route, where Outrigger does not write all of them.
func (p *tables) routes(namespaces []diagnose.NamespaceStatus) {
	var rows [][]string
	eachService(namespaces, func(namespace string, s diagnose.ServiceStatus) {
		for _, r := range s.Routes {
			by := cmp.Or(r.Object, "-")
			if r.Object != "" && !r.Outrigger {
				by += " (not Outrigger's)"
			}
			rows = append(rows, p.at(namespace, s.Name, r.At, cmp.Or(strings.Join(r.Hosts, ","), "-"), by, r.Shares))
		}
	})
	p.table(p.at("NAMESPACE", "SERVICE", "CALLERS AT", "HOSTS", "ROUTED BY", "SHARES"), rows)
}

// eachService calls a function with each Service and the name of its namespace.
func eachService(namespaces []diagnose.NamespaceStatus, call func(namespace string, s diagnose.ServiceStatus)) {
	for _, n := range namespaces {
		for _, s := range n.Services {
			call(n.Name, s)
		}
	}
}

func percent(of float64) string {
	if of == 0 {
		return "-"
	}
	return fmt.Sprintf("%v%%", of)
}

// gateways lists the gateways with their URLs, and, if any has one, with their certificates.
func (p *tables) gateways(namespaces []diagnose.NamespaceStatus) {
	var rows [][]string
	header := p.at("NAMESPACE", "SERVICE", "GATEWAY", "HOSTS", "PORT", "ADDRESS", "NODE-PORT", "URL")
	hasCertificate := false
	eachService(namespaces, func(_ string, s diagnose.ServiceStatus) {
		hasCertificate = hasCertificate || slices.ContainsFunc(s.Gateways, func(g diagnose.GatewayStatus) bool { return g.Certificate != "" })
	})
	if hasCertificate {
		header = append(header, "CERTIFICATE")
	}
	eachService(namespaces, func(namespace string, s diagnose.ServiceStatus) {
		for _, g := range s.Gateways {
			nodePort := "-"
			if g.NodePort != 0 {
				nodePort = strconv.Itoa(int(g.NodePort))
			}
			row := p.at(namespace, s.Name, g.Name, cmp.Or(strings.Join(g.Hosts, ","), "-"), g.PortText(),
				cmp.Or(strings.Join(g.Addresses, ","), "-"), nodePort, cmp.Or(g.URL, "-"))
			if hasCertificate {
				row = append(row, cmp.Or(g.Certificate, "-"))
			}
			rows = append(rows, row)
		}
	})
	p.table(header, rows)
}

func (p *tables) restarts(namespaces []diagnose.NamespaceStatus) {
	var rows [][]string
	for _, n := range namespaces {
		for _, r := range n.WithoutSidecar {
			rows = append(rows, p.at(n.Name, r.Workload, strconv.Itoa(r.Pods), p.view.flags.Complete(r.Command)))
		}
	}
	p.table(p.at("NAMESPACE", "OLDER THAN THE LABEL", "PODS", "TO GIVE THEM A SIDECAR"), rows)
}

// certificates lists the certificates with -o wide. Problems of certificates are always listed among the problems.
func (p *tables) certificates(certificates []diagnose.CertificateStatus) {
	if !p.view.wide {
		return
	}
	var rows [][]string
	for _, c := range certificates {
		until := "-"
		if c.Until != nil {
			until = c.Until.UTC().Format(time.RFC3339)
		}
		rows = append(rows, []string{c.Webhook, c.Source, cmp.Or(c.Certificate, "-"), strconv.FormatBool(c.Ready), until})
	}
	p.table([]string{"WEBHOOK", "CERTIFICATE FROM", "CERTIFICATE", "READY", "UNTIL"}, rows)
}

// problems writes each problem on separate lines, because problems are sentences.
func (p *tables) problems(namespaces []diagnose.NamespaceStatus, certificates []diagnose.CertificateStatus) {
	var lines []string
	for _, c := range certificates {
		if !c.Ready {
			lines = append(lines, "The certificate of MutatingWebhookConfiguration "+c.Webhook+": "+c.Problem+".",
				p.view.flags.CompleteText("    Pods may be refused: kubectl describe mutatingwebhookconfiguration "+c.Webhook))
		}
	}
	for _, n := range namespaces {
		lines = append(lines, diagnose.ProblemLines(p.completed(n.Problems))...)
		for _, s := range n.Services {
			if len(s.Due) > 0 {
				lines = append(lines, "Service "+n.Name+"/"+s.Name+": not written yet: "+strings.Join(s.Due, ", ")+".", "    "+p.view.flags.CompleteText(diagnose.IfUnchanged(p.view.gaps).String()))
			}
			if s.Skipped != "" && !s.HasProblem(api.RouteServiceSkipped) {
				lines = append(lines, "Service "+n.Name+"/"+s.Name+" gets no routes: "+p.view.flags.CompleteText(s.Skipped))
			}
			lines = append(lines, diagnose.ProblemLines(p.completed(s.Problems))...)
		}
	}
	if len(lines) > 0 && p.some {
		p.line("")
	}
	for _, line := range lines {
		p.line(p.view.style.reason(line))
	}
}

// completed returns the problems with the flags in the commands of their advice.
func (p *tables) completed(problems []diagnose.ProblemStatus) []diagnose.ProblemStatus {
	out := slices.Clone(problems)
	for i := range out {
		out[i].Advice = p.view.flags.CompleteText(out[i].Advice)
	}
	return out
}

// history prints the decisions that undo can return to.
func (p *tables) history(namespaces []diagnose.NamespaceStatus) {
	if !p.view.wide {
		return
	}
	var rows [][]string
	eachService(namespaces, func(namespace string, s diagnose.ServiceStatus) {
		for i, d := range s.History {
			weights := cmp.Or(d.Weights, "-")
			switch {
			case d.TooLong:
				weights = "(too long to be recorded)"
			case len(d.Missing) > 0:
				weights += " (no version " + strings.Join(d.Missing, ", ") + ")"
			}
			rows = append(rows, p.at(namespace, s.Name, strconv.Itoa(i+1), d.Default, weights, d.Until))
		}
	})
	p.table(p.at("NAMESPACE", "SERVICE", "UNDO --TO", "DEFAULT", "WEIGHTS", "UNTIL"), rows)
}
