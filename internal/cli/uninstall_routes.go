// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"outrigger.dev/outrigger/internal/diagnose"
	"outrigger.dev/outrigger/routing"
	"outrigger.dev/outrigger/routing/controller"
)

func uninstallRoutesCommand() *cobra.Command {
	var from clusterFlags
	var output writing
	var all bool
	command := &cobra.Command{
		Use:   "uninstall-routes",
		Short: "Remove the routes that Outrigger created, after it is uninstalled",
		Long: `Routes that remain after Outrigger is uninstalled keep naming the same versions. This command removes the objects of every
Service where that moves no traffic: the Service has one workload, or its routes name no version, and it is not served at a
gateway. The others are printed with the reason. With --all they are removed too, and the command first prints which
versions begin to receive traffic.

VirtualServices and Gateways are removed first, DestinationRules after the propagation delay. A running Outrigger would
recreate them, so the command fails if one runs, and if you have no permission to see whether one does.`,
		Example: `  # Every namespace: print what would be removed and what would stay
  outrigger uninstall-routes --dry-run=client

  # All routes of one namespace
  outrigger uninstall-routes -n demo --all`,
		Args: NoArguments,
		RunE: func(command *cobra.Command, _ []string) error {
			if err := output.prepare(command); err != nil {
				return err
			}
			l, err := from.connect(command.Context(), command.ErrOrStderr())
			if err != nil {
				return err
			}
			return l.uninstallRoutes(command.Context(), from.kube.namespace(), all, output)
		},
	}
	from.register(command, true)
	output.register(command)
	command.Flags().Lookup("namespace").Usage = "namespace (default: all)"
	for _, name := range []string{"wait", "timeout"} {
		_ = command.Flags().MarkHidden(name) // it always waits between the steps
	}
	command.Flags().BoolVar(&all, "all", false, "also routes whose removal moves traffic")
	return command
}

// uninstallRoutes removes the objects of Services, VirtualServices first; in one namespace if it is given.
func (l *live) uninstallRoutes(ctx context.Context, namespace string, all bool, output writing) error {
	if namespace != "" {
		if err := l.checkNamespaceExists(ctx, namespace); err != nil {
			return err
		}
	}
	if err := l.checkNotRunning(ctx, namespace, output); err != nil {
		return err
	}
	leaving, kept, err := l.routesToRemove(ctx, namespace, all, output)
	if err != nil {
		return err
	}
	routes, rules, replaced := 0, 0, 0
	for _, service := range leaving {
		for _, object := range slices.Concat(asObjects(service.objects.VirtualServices), asObjects(service.objects.Gateways)) {
			routes++
			if err := l.remove(ctx, object, output); err != nil {
				return err
			}
		}
		rules, replaced = rules+len(service.objects.DestinationRules), replaced+len(service.replaced)
	}
	if routes > 0 && rules > 0 && output.dryRun == dryRunNone {
		output.say("waiting %v for the proxies to forget the routes", l.settings().PropagationDelay)
		select {
		case <-ctx.Done():
			return errors.New("interrupted: the routes are removed, but their DestinationRules still exist; run the command again")
		case <-time.After(l.settings().PropagationDelay):
		}
	}
	for _, service := range leaving {
		for _, rule := range service.objects.DestinationRules {
			if err := l.remove(ctx, rule, output); err != nil {
				return err
			}
		}
		for _, object := range service.replaced {
			if err := l.release(ctx, object, service.service, output); err != nil {
				return err
			}
		}
	}
	switch {
	case kept:
		output.say("to remove them all and accept that this moves traffic: %s", l.uninstallAll(namespace))
	case routes+rules+replaced == 0:
		output.say("no routes to remove")
	}
	return nil
}

// uninstallAll returns the command that removes all routes of a namespace, or of all namespaces if it is empty.
func (l *live) uninstallAll(namespace string) string {
	command := "outrigger uninstall-routes --all"
	if namespace != "" {
		command += " -n " + namespace
	}
	if l.systemNamespace != defaultSystemNamespace {
		command += " --system-namespace=" + l.systemNamespace
	}
	return command
}

// checkNotRunning refuses where a controller leads, because it would recreate what is removed. It also refuses where the user has no
// permission to read whether one does.
func (l *live) checkNotRunning(ctx context.Context, namespace string, output writing) error {
	if output.dryRun != dryRunNone {
		return nil
	}
	if err := l.checkInstalledHere(ctx, namespace); err != nil {
		return err
	}
	name := l.config.LeaderElection.LeaseName
	lease := &coordinationv1.Lease{}
	err := l.client.Get(ctx, client.ObjectKey{Namespace: l.systemNamespace, Name: name}, lease)
	switch {
	case isForbidden(err):
		return l.unknownWhetherRunning("get Lease "+name, namespace)
	case apierrors.IsNotFound(err) && l.gaps.Hides(l.systemNamespace, "ConfigMap"):
		return l.unknownWhetherRunning("list ConfigMaps, which name the Lease of Outrigger,", namespace)
	case apierrors.IsNotFound(err):
		return nil
	case err != nil:
		return fmt.Errorf("read the Lease of Outrigger: %w", err)
	}
	if holder := leader(lease, l.now()); holder != "" {
		return fmt.Errorf("%s runs and would recreate the routes. Stop Outrigger first: kubectl scale deployment -n %s --all --replicas=0. To remove the routes of one namespace while it runs: outrigger disable %s", holder, l.systemNamespace, cmp.Or(namespace, "NAMESPACE"))
	}
	return nil
}

// unknownWhetherRunning returns the error for a permission without which it is unknown whether Outrigger runs.
func (l *live) unknownWhetherRunning(permission, namespace string) error {
	return fmt.Errorf("no permission to %s in namespace %s, so it is unknown whether Outrigger runs; nothing was removed. "+
		"If it runs, it removes the routes itself: outrigger disable %s. If it does not, have a user with this permission run this command",
		permission, l.systemNamespace, cmp.Or(namespace, "NAMESPACE"))
}

// leader returns the holder of a Lease that has not expired; empty if there is none.
func leader(lease *coordinationv1.Lease, now time.Time) string {
	holder := ptr.Deref(lease.Spec.HolderIdentity, "")
	if holder == "" || lease.Spec.RenewTime == nil {
		return ""
	}
	if now.After(lease.Spec.RenewTime.Add(time.Duration(ptr.Deref(lease.Spec.LeaseDurationSeconds, 0)) * time.Second)) {
		return ""
	}
	name, _, _ := strings.Cut(holder, "_")
	return name
}

// routeRemoval lists the objects to remove for a Service.
type routeRemoval struct {
	service  *corev1.Service // nil if it no longer exists
	objects  routing.Objects
	replaced []routing.Object // by the user; they remain, without Outrigger's labels
}

// routesToRemove returns the objects to remove, by Service in the order of namespaces and names, and whether routes of other
// Services remain. It prints which ones and why.
func (l *live) routesToRemove(ctx context.Context, namespace string, all bool, output writing) (out []routeRemoval, kept bool, err error) {
	s := l.snapshot(namespace, namespace == "")
	s.strict = true // do not remove what is unknown
	objects, err := controller.ListObjects(ctx, s, client.InNamespace(namespace))
	if err != nil {
		return nil, false, err
	}
	sources := l.sources(s)
	for _, key := range owned(objects) {
		observed, _, err := sources.Gather(ctx, key)
		if err != nil && !apierrors.IsNotFound(err) {
			return nil, false, err
		}
		if observed == nil {
			out = append(out, routeRemoval{objects: ownedObjects(objects, key)}) // its Service is deleted
			continue
		}
		why := diagnose.WhyRoutesStay(*observed)
		if why != "" && !all {
			output.say("service/%s in namespace %s keeps its routes: %s", key.Name, key.Namespace, why)
			kept = true
			continue
		}
		if why != "" {
			for _, line := range diagnose.ForecastRemoval(*observed, l.now()) {
				output.say("%s", line)
			}
		}
		owned := ownedObjects(objects, key).All() // an object that a user applied from a file (routing=observe) is not removed
		remove := filterObjects(observed.Existing, func(o routing.Object) bool {
			return slices.ContainsFunc(owned, func(other routing.Object) bool {
				return routing.KindOf(o) == routing.KindOf(other) && o.GetName() == other.GetName()
			})
		})
		out = append(out, routeRemoval{observed.Service, remove, observed.Replaced()})
	}
	return out, kept, nil
}

// ownedObjects returns the objects of one Service, without those that a user applied over Outrigger's.
func ownedObjects(objects routing.Objects, key client.ObjectKey) routing.Objects {
	service := &corev1.Service{}
	service.Namespace, service.Name = key.Namespace, key.Name
	return filterObjects(objects, func(o routing.Object) bool { return routing.IsOwn(o, service) && !routing.IsApplied(o) })
}

// filterObjects returns the objects that should be kept.
func filterObjects(objects routing.Objects, keep func(routing.Object) bool) routing.Objects {
	return routing.Objects{
		DestinationRules: filterList(objects.DestinationRules, keep), VirtualServices: filterList(objects.VirtualServices, keep), Gateways: filterList(objects.Gateways, keep),
	}
}

func filterList[T routing.Object](list []T, keep func(routing.Object) bool) []T {
	return slices.DeleteFunc(slices.Clone(list), func(object T) bool { return !keep(object) })
}

// release removes what makes an object Outrigger's from one that the user replaced.
func (l *live) release(ctx context.Context, object routing.Object, service *corev1.Service, output writing) error {
	if output.dryRun != dryRunClient {
		was := object.DeepCopyObject().(client.Object)
		patch := client.MergeFromWithOptions(was, client.MergeFromWithOptimisticLock{})
		if err := l.client.Patch(ctx, routing.Released(object, service).(client.Object), patch, output.patchOptions()...); err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("release %s %s/%s: %w", routing.KindOf(object), object.GetNamespace(), object.GetName(), err)
		}
	}
	output.say("%s/%s in namespace %s stays, because you replaced it; Outrigger's owner reference, labels, and annotations are removed from it%s",
		strings.ToLower(routing.KindOf(object)), object.GetName(), object.GetNamespace(), output.suffix())
	return nil
}

// remove deletes an object in the version that was read. An object that no longer exists is not an error.
func (l *live) remove(ctx context.Context, object routing.Object, output writing) error {
	if output.dryRun != dryRunClient {
		uid, version := object.GetUID(), object.GetResourceVersion()
		options := []client.DeleteOption{client.Preconditions{UID: &uid, ResourceVersion: &version}}
		if output.dryRun == dryRunServer {
			options = append(options, client.DryRunAll)
		}
		if err := l.client.Delete(ctx, object.DeepCopyObject().(client.Object), options...); err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("delete %s %s/%s: %w", routing.KindOf(object), object.GetNamespace(), object.GetName(), err)
		}
	}
	output.say("%s/%s in namespace %s deleted%s", strings.ToLower(routing.KindOf(object)), object.GetName(), object.GetNamespace(), output.suffix())
	return nil
}
