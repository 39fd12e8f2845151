package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

func explainCommand() *cobra.Command {
	var from clusterFlags
	var input string
	command := &cobra.Command{
		Use:   "explain service/NAME | pod/NAME | KIND/NAME | -f FILE",
		Short: "Say why routes are as they are, and why a pod has a sidecar or has none",
		Long: `Of a Service it says why its routes are as they are.

Of a pod, of anything that holds a pod template (deployment/NAME, job/NAME, rollouts.argoproj.io/NAME), or of what stands
in a file, it says what becomes of such a pod when it is created now: whether the API server asks an injector about it,
Outrigger's or istiod's, by which label or condition; what the injector decides and why; and what to change. The webhook
objects, the Namespace and Istio's configuration are read from the cluster, and judged by the code of the API server and
of Outrigger's webhook.`,
		Example: `  outrigger explain service/springbootapp -n demo
  outrigger explain deployment/springbootapp-v1 -n demo
  outrigger explain pod/springbootapp-v1-6b7f9d5c84-x2x7k -n demo
  outrigger explain -n demo -f app.yaml`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			if (input == "") == (len(args) == 0) {
				return errors.New("name one object, as in explain deployment/NAME, or a file with -f")
			}
			if input != "" {
				return explainFile(command, &from, input)
			}
			kind, name, _ := strings.Cut(args[0], "/")
			if kind == "" || name == "" {
				return fmt.Errorf("%q is not of the form KIND/NAME, as in service/web, pod/web-0 or deployment/web", args[0])
			}
			switch kind {
			case "service", "services", "svc":
				return explainService(command, &from, name)
			}
			return explainObject(command, &from, kind, name)
		},
	}
	from.register(command, true)
	command.Flags().StringVarP(&input, "filename", "f", "", "file with pods or workloads to explain, - for standard input")
	command.ValidArgsFunction = from.complete(firstOf(whatToExplain))
	return command
}
