// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/internal/diagnose"
)

// canaryFlags are the flags of outrigger canary, besides those of every command that writes.
type canaryFlags struct {
	steps, interval, minRequests, deadline string
	checks                                 []string
	pause, resume, abort, promote, retry   bool
	wait, pending                          bool
	timeout                                time.Duration
}

func canaryCommand() *cobra.Command {
	command, _ := newCanaryCommand()
	return command
}

// newCanaryCommand returns the command and where it parses its flags into.
func newCanaryCommand() (*cobra.Command, *canaryFlags) {
	var from clusterFlags
	var output writing
	flags := &canaryFlags{}
	command := &cobra.Command{
		Use:   "canary SERVICE VERSION",
		Short: "Roll out a version step by step, and roll back if it performs worse",
		Long: `Requests a canary: the version gets a larger share of the Service's requests with each step, as long as its checks pass,
and is the default version in the end. If a check fails twice in a row, the default version gets all requests back.

Sets the annotation outrigger.dev/canary of the Service, and one for each flag; annotations of an earlier canary are removed.
The version "auto" rolls out each new version from now on. The effect is printed first, and nothing is written if a value is
invalid or no canary can start.

--pause, --resume, --abort, --promote, and --retry apply to the Service's existing canary, and take no version. A version whose canary
has ended starts again only with --retry. Without a version, it keeps the settings of the canary; with a version, a setting without a flag
has its default again.

--wait follows the canary until it ends: in place on a terminal, otherwise with one line for each change. The exit status is 1
if it was aborted, or if routes are frozen (routing.freeze). With --abort and --promote, --wait returns when the route is applied.`,
		Example: `  # Roll v2 out in four steps of five minutes each
  outrigger canary springbootapp v2

  # Choose steps and checks, and follow the canary until it ends
  outrigger canary springbootapp v2 --steps 5,25,50,100 --interval 5m --check 'error-rate<1%' --check 'p99<1.5x' --wait

  # Pause at the current step; continue; send all requests to the default version, or to the new version
  outrigger canary springbootapp --pause
  outrigger canary springbootapp --resume
  outrigger canary springbootapp --abort
  outrigger canary springbootapp --promote

  # Start a canary again that was aborted, with the same settings, or with others
  outrigger canary springbootapp --retry
  outrigger canary springbootapp v2 --retry --check readiness`,
		RunE: func(command *cobra.Command, args []string) error {
			output.to(command)
			if err := checkDryRun(command); err != nil {
				return err
			}
			if flags.timeout < 0 {
				return usagef("--timeout=%v: expected a duration such as 1h, or 0 for no limit", flags.timeout)
			}
			request, err := flags.request(command, args)
			if err != nil {
				return err
			}
			if flags.wait && output.dryRun == dryRunNone && changesRouteAtOnce(request.Action) {
				output.wait, output.timeout = true, cmp.Or(flags.timeout, time.Minute)
			}
			l, err := from.connect(command.Context(), command.ErrOrStderr())
			if err != nil {
				return err
			}
			change, err := l.applyChange(command.Context(), request, output)
			if err != nil || !flags.wait || output.wait || output.dryRun != dryRunNone {
				return err
			}
			w := canaryWatch{live: l, service: request.Service, timeout: flags.timeout, out: output.out, notes: output.notes, isTerminal: isTerminal(output.out), version: request.Version, change: change}
			return w.run(command.Context())
		},
	}
	from.register(command, true)
	registerDryRun(command, &output.dryRun)
	f := command.Flags()
	f.StringVar(&flags.steps, "steps", "", "increasing percentages that end with 100, each with an optional duration: 5@2m,25,100 (default 5,20,50,100)")
	f.StringVar(&flags.interval, "interval", "", "duration of each step that does not set one (default 5m)")
	f.StringArrayVar(&flags.checks, "check", nil, "a check such as error-rate<1%, p99<500ms, or p99<1.5x, which is relative to the default version; can be repeated; readiness checks only the pods")
	f.StringVar(&flags.minRequests, "min-requests", "", "minimum number of requests to the version for a step to pass (default 20)")
	f.StringVar(&flags.deadline, "deadline", "", "how long a step may wait after its duration has elapsed (default 1h)")
	f.BoolVar(&flags.pause, "pause", false, "stay at the current step; a failing check still aborts the canary")
	f.BoolVar(&flags.resume, "resume", false, "continue a canary that was paused, or whose route was edited by hand")
	f.BoolVar(&flags.abort, "abort", false, "end the canary; the default version gets all requests")
	f.BoolVar(&flags.promote, "promote", false, "end the canary; its version becomes the default version at once")
	f.BoolVar(&flags.retry, "retry", false, "restart the canary that ended last")
	f.BoolVar(&flags.wait, "wait", false, "follow the canary until it ends; exit status 1 if it was aborted or routes are frozen")
	f.BoolVar(&flags.pending, "pending", false, "accept a version that has no pods yet; the canary starts when they are ready")
	f.DurationVar(&flags.timeout, "timeout", 0, "how long --wait waits (default no limit; 1m with --abort and --promote)")
	command.MarkFlagsMutuallyExclusive(canaryActions...)
	command.ValidArgsFunction = from.complete(firstOf(serviceNames, canaryVersions))
	return command, flags
}

// canaryActions are the flags about the canary that a Service has.
var canaryActions = []string{"pause", "resume", "abort", "promote", "retry"}

// changesRouteAtOnce reports whether no canary is left to follow.
func changesRouteAtOnce(action diagnose.Action) bool {
	return action == diagnose.ActionCanaryAbort || action == diagnose.ActionCanaryPromote
}

func (f canaryFlags) request(command *cobra.Command, args []string) (diagnose.Request, error) {
	request, flag := diagnose.Request{Action: diagnose.ActionCanary, AllowPending: f.pending}, ""
	for _, name := range canaryActions {
		if command.Flags().Changed(name) {
			if on, _ := command.Flags().GetBool(name); !on {
				return request, usagef("--%s=false has no effect: leave it out", name)
			}
			request.Action, flag = diagnose.Action("canary-"+name), name
		}
	}
	service, rest, err := promotedService(args)
	request.Service = service
	if flag != "" && (request.Action != diagnose.ActionCanaryRetry || len(rest) == 0) {
		return request, f.checkAction(command, flag, rest, err)
	}
	if err != nil || len(rest) != 1 {
		return request, usagef("name the Service and one version: canary SERVICE v2%s", reasonOf(err))
	}
	if rest[0] == api.CanaryAuto && f.wait && flag == "" {
		return request, usagef("auto starts no canary now: omit --wait")
	}
	request.Version, request.Settings = rest[0], map[string]string{}
	values := map[string]string{
		"steps": f.steps, "interval": f.interval, "check": strings.Join(f.checks, ","), "min-requests": f.minRequests, "deadline": f.deadline,
	}
	for _, name := range diagnose.CanarySettings() {
		if command.Flags().Changed(name) && strings.TrimSpace(values[name]) == "" {
			return request, usagef("--%s: expected a value; without the flag, the default applies", name)
		}
		if values[name] != "" {
			request.Settings[name] = values[name]
		}
	}
	return request, asUsage(request.Check())
}

// checkAction returns a usage error for an action that is combined with something else.
func (f canaryFlags) checkAction(command *cobra.Command, action string, rest []string, err error) error {
	if err != nil || len(rest) > 0 {
		return usagef("name the Service alone: canary SERVICE --%s%s", action, reasonOf(err))
	}
	for _, flag := range diagnose.CanarySettings() {
		if command.Flags().Changed(flag) {
			return usagef("--%s and --%s cannot be combined: name the version to choose its settings", action, flag)
		}
	}
	if f.pending {
		return usagef("--%s and --pending cannot be combined: the canary has its version", action)
	}
	if action == "pause" && f.wait {
		return usagef("--pause and --wait cannot be combined: a paused canary stays at its step")
	}
	return nil
}

// canaryVersions completes a version, or auto.
func canaryVersions(ctx context.Context, l *live, args []string) ([]string, error) {
	versions, err := versionNames(ctx, l, args)
	if err != nil || len(versions) == 0 {
		return nil, err
	}
	return append(versions, api.CanaryAuto), nil
}
