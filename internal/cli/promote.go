// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"github.com/spf13/cobra"

	"outrigger.dev/outrigger/internal/diagnose"
)

func promoteCommand() *cobra.Command {
	return decisionCommand(&cobra.Command{
		Use:   "promote SERVICE VERSION",
		Short: "Send all unmatched requests of a Service to one version",
		Long: `Sets the annotations outrigger.dev/default-version and outrigger.dev/decided-at of the Service, removes
outrigger.dev/weights and outrigger.dev/canary, and changes nothing else: all requests that no match claims go to the version.
A canary that progresses ends. outrigger.dev/canary=auto stays.

A version that no pod or workload of the Service has is refused, unless you set --pending. The effect is printed first, also
for other Services that select the same pods.`,
		Example: `  # Send all requests to v2
  outrigger promote springbootapp v2

  # The same for every Service that selects the same pods, and return when the route is applied
  outrigger promote springbootapp v2 --all-services --wait`,
	}, versionNames, func(args []string) (diagnose.Request, error) {
		service, versions, err := promotedService(args)
		if err != nil || len(versions) != 1 {
			return diagnose.Request{}, usagef("name the Service and one version: promote SERVICE v2%s", reasonOf(err))
		}
		return promotionOf(service, versions[0])
	})
}

// promotionOf returns the request to promote a version.
func promotionOf(service, version string) (diagnose.Request, error) {
	request := diagnose.Request{Action: diagnose.ActionPromote, Service: service, Version: version}
	return request, asUsage(request.Check())
}
