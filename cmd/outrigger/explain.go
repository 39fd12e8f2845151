package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

func explainCommand() *cobra.Command {
	var from clusterFlags
	command := &cobra.Command{
		Use:     "explain service/NAME",
		Short:   "Say why the routes of a Service are as they are",
		Example: `  outrigger explain service/springbootapp -n demo`,
		Args:    cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			kind, name, _ := strings.Cut(args[0], "/")
			switch kind {
			case "service", "services", "svc":
				return explainService(command, &from, name)
			}
			return fmt.Errorf("%q is not of the form service/NAME", args[0])
		},
	}
	from.register(command, true)
	command.ValidArgsFunction = from.complete(firstOf(servicesToExplain))
	return command
}
