// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/util/validation"
)

// NoArguments accepts no arguments. If the command reads its input with -f, the error shows how to name a file with it.
func NoArguments(command *cobra.Command, args []string) error {
	if err := checkDryRun(command); err != nil || len(args) == 0 {
		return err
	}
	if command.Flags().Lookup("filename") != nil {
		return fmt.Errorf("unexpected argument %q: name files with -f. Example: %s -f %s", args[0], command.CommandPath(), strings.Join(args, " -f "))
	}
	return fmt.Errorf("unexpected argument %q: %s takes flags only", args[0], command.CommandPath())
}

// dryRuns are the values of --dry-run, the same as those of kubectl.
var dryRuns = []string{dryRunNone, dryRunClient, dryRunServer}

func registerDryRun(command *cobra.Command, into *string) {
	command.Flags().StringVar(into, "dry-run", dryRunNone, `"none", "client" (print what would be done), or "server" (have the API server check it as well)`)
	_ = command.RegisterFlagCompletionFunc("dry-run", cobra.FixedCompletions(dryRuns, cobra.ShellCompDirectiveNoFileComp))
}

const dryRunNeeds = "--dry-run needs a value: --dry-run=client prints what would be done, --dry-run=server also has the API server check it"

// checkDryRun returns a usage error for an invalid value of --dry-run, and for a missing value.
func checkDryRun(command *cobra.Command) error {
	flag := command.Flags().Lookup("dry-run")
	switch {
	case flag == nil || slices.Contains(dryRuns, flag.Value.String()):
		return nil
	case strings.HasPrefix(flag.Value.String(), "-"), flag.Value.String() == "":
		return usagef("%s", dryRunNeeds)
	}
	return usagef("--dry-run=%s: expected none, client, or server", flag.Value)
}

// flagError explains which value a flag expects, if it is missing or of the wrong type.
func flagError(_ *cobra.Command, err error) error {
	missing := &pflag.ValueRequiredError{}
	if errors.As(err, &missing) && missing.GetSpecifiedName() == "dry-run" {
		return usagef("%s", dryRunNeeds)
	}
	invalid := &pflag.InvalidValueError{}
	if errors.As(err, &invalid) {
		if expected := expectedValues[invalid.GetFlag().Value.Type()]; expected != "" {
			return usagef("--%s=%s: expected %s", invalid.GetFlag().Name, invalid.GetValue(), expected)
		}
	}
	return err
}

// expectedValues describes the values of flags by type.
var expectedValues = map[string]string{
	"int":      "a whole number, such as 2",
	"duration": "a duration, such as 30s or 1m30s",
	"bool":     "true or false",
}

// checkNamespaceName returns a usage error for text that cannot be the name of a namespace. It accepts empty text.
func checkNamespaceName(flag, name string) error {
	if name == "" || len(validation.IsDNS1123Label(name)) == 0 {
		return nil
	}
	return usagef("%s%q is not the name of a namespace: use lowercase letters, digits, and hyphens. Example: demo", flag, name)
}
