// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"outrigger.dev/outrigger/api"
)

// written is a digest of a VirtualService's spec. What was written last is JSON in the annotation
// outrigger.dev/written, so that a later edit by another client is distinguished from what we have yet to change:
//
//	{"shape":"3f2a9c01","to":"v1=9,v2=1"}
type written struct {
	Shape string `json:"shape"`          // hash of everything but shares and tcp rules
	TCP   string `json:"tcp,omitempty"`  // hash of the tcp rules but for their shares; empty if there are none
	Copy  string `json:"copy,omitempty"` // hash of the mirrors; empty if there are none
	To    string `json:"to"`             // subset=share of the rules without a condition, in lowest terms; "-" for no subset
}

// edit is what another client did to one of our VirtualServices.
type edit int

const (
	unedited     edit = iota
	reweighed         // only the shares of the rules without a condition are others
	restructured      // anything else
)

// readAdopted takes over weights that a release adopted which did not record them as in effect.
func (s *reader) readAdopted() {
	if s.renewed || !s.isRecorded || len(s.recorded.Weights) > 0 {
		return
	}
	for _, vs := range s.ours.routes() {
		text := vs.Annotations[api.AnnotationAdopted]
		if weights, err := api.ParseWeights(text); text != "" && err == nil && len(s.recorded.Weights) == 0 {
			s.adopt(weights)
		}
	}
}

func (s *reader) adopt(weights []api.Weight) {
	s.recorded.Adopted = true
	names := map[string]meaning{}
	for _, w := range weights {
		if carried := s.runningAs(w.Version); len(carried.Tracks) > 0 && !s.literalAlready(w.Version, carried) {
			names[w.Version] = carried
		}
	}
	names = s.keepNamesDistinct(names)
	s.recorded.Weights = s.bound(weights, func(name string) meaning {
		if m, bound := names[name]; bound {
			return m
		}
		return meaning{Version: name}
	})
}

// adoptedText are adopted weights that hold, as the annotation would have them; empty if there are none.
func (r record) adoptedText() string {
	if !r.Adopted {
		return ""
	}
	return r.Weights.String()
}

// sharesChanged reports whether annotations about shares changed since the route was last written.
func (s *facts) sharesChanged() bool {
	return s.isChanged(api.AnnotationDefaultVersion, api.AnnotationWeights, api.AnnotationDecidedAt)
}

// judgeRouteEdits finds what another client changed in our VirtualServices, and judges the edit: it is adopted, it is reverted, or the
// VirtualService is no longer written.
func (s *reader) judgeRouteEdits() {
	if s.renewed || !s.isRecorded {
		return
	}
	declared := len(s.Intent.Weights) > 0
	for i, vs := range s.ours.routes() {
		how, to := s.editOf(vs)
		if how != unedited {
			s.edited = append(s.edited, vs.Name)
		}
		weights := s.weightsOf(to)
		if how == reweighed && weights == "" {
			how = restructured
		}
		unknown := how == unedited && vs.Annotations[api.AnnotationWritten] == "" && slices.Contains(s.copies.read.Detached, vs.Name)
		if unknown { // another client edited or removed what says so
			s.edited, how = append(s.edited, vs.Name), restructured
		}
		switch {
		case how == unedited:
		case s.Intent.Drift == api.DriftRevert:
			s.revert(vs, "This VirtualService was edited. The edit is reverted because of outrigger.dev/drift=revert.", "Change the annotations of the Service instead.")
		case s.namesMissing(vs) != "":
			s.revert(vs, "This VirtualService was edited and routes to subset "+s.namesMissing(vs)+", which does not exist. The edit is reverted.",
				"Add that subset to DestinationRule "+s.names.destinationRule+" first.")
		case how == restructured || s.Intent.Drift == api.DriftDetach || s.recorded.State != "":
			s.detached = append(s.detached, vs.Name)
			s.reportForeign(vs, "spec", "", api.RouteDrifted, "This VirtualService was edited. Outrigger no longer writes it, and keeps the subsets that it names.",
				fmt.Sprintf("To restore it: %s, or kubectl delete virtualservice -n %s %s.", s.annotate(api.AnnotationDrift+"=revert"), vs.Namespace, vs.Name))
		case i > 0:
			s.revert(vs, "Its shares were edited. The edit is reverted, because the shares of VirtualService "+s.ours.routes()[0].Name+" apply to both.", "Change them there, or set outrigger.dev/weights.")
		case declared || s.sharesChanged():
			s.revert(vs, "Its shares were edited to "+weights+", which contradicts the annotations. The edit is reverted.", "Write "+s.annotate(api.AnnotationWeights+"="+weights)+" instead.")
		case s.versionWithoutPods(to) != "":
			s.revert(vs, "Its shares were edited to "+weights+", but "+s.versionWithoutPods(to)+" has no pods, or its workload was deleted. The edit is reverted.", "Start the workload of "+s.versionWithoutPods(to)+" first.")
		case s.changesNoShare(vs, to):
			s.revert(vs, "Its shares were edited to "+weights+", which only divides the share of a workload that rolls out a version. That share follows its ready pods, so the edit is reverted.",
				"Finish or undo the rollout instead.")
		default:
			if parsed, err := api.ParseWeights(weights); err == nil { // else of versions that no user could name
				s.adopt(parsed)
			}
		}
	}
	s.recorded.Detached = s.detached
	s.left = s.leftBy(s.ours.routes())
}

// versionWithoutPods returns a version among shares that has no pods, or whose workload was deleted; empty if there is none.
func (s *facts) versionWithoutPods(to []portion) string {
	for _, p := range to {
		m := s.runningAs(p.version)
		if p.version != "" && (!s.hasPods(m) || s.isGone(m)) {
			return p.version
		}
	}
	return ""
}

// adoptedShares reports that shares apply which another client set on our VirtualService.
func (s defaultDecision) adoptedShares() []finding {
	if routes, text := s.ours.routes(), s.record.adoptedText(); text != "" && len(routes) > 0 {
		return []finding{problemOf(routes[0], "spec", "", api.RouteWeightsAdopted, "Its shares were edited to "+text+". They apply until the annotations of the Service set the shares.",
			"To keep them: "+s.annotate(api.AnnotationWeights+"="+text)+".")}
	}
	return nil
}

// judgeGatewayEdit finds that another client edited our Gateway. The annotations define all of it, so there is nothing to adopt:
// the edit is reverted, unless outrigger.dev/drift=detach.
func (s *reader) judgeGatewayEdit() {
	gateway := s.ours.gateway
	if s.renewed || !s.gatewayEdited() {
		return
	}
	if s.Intent.Drift == api.DriftDetach {
		s.gatewayDetached = true
		s.reportForeign(gateway, "spec", "", api.RouteDrifted, "This Gateway was edited. Outrigger no longer writes it.",
			fmt.Sprintf("To restore it: %s, or kubectl delete gateways.networking.istio.io -n %s %s.", s.annotate(api.AnnotationDrift+"=revert"), gateway.Namespace, gateway.Name))
		return
	}
	s.reportForeign(gateway, "spec", "", api.RouteEditReverted, "This Gateway was edited. The edit is reverted, because the annotations of the Service define the Gateway.",
		"For a Gateway of your own: "+s.annotate(api.AnnotationGateway+"=NAMESPACE/NAME")+".")
}

// gatewayEdited reports whether another client edited our Gateway.
func (s *facts) gatewayEdited() bool {
	if s.ours.gateway == nil {
		return false
	}
	was := s.ours.gateway.Annotations[api.AnnotationWritten]
	return was != "" && was != gatewayDigest(s.ours.gateway)
}

func gatewayDigest(gateway *networkingv1.Gateway) string {
	return api.ShortHash(canonical(&gateway.Spec))
}

// revert has an edited VirtualService written back, and reports it.
func (s *reader) revert(vs *networkingv1.VirtualService, message, advice string) {
	s.reverted = append(s.reverted, vs.Name)
	s.reportForeign(vs, "spec", "", api.RouteEditReverted, message, advice)
}

// writtenPortions returns the destinations that a VirtualService had when we wrote it last. Weights are known only of those
// without a condition.
func (s *facts) writtenPortions(vs *networkingv1.VirtualService) []portion {
	var was written
	if err := json.Unmarshal([]byte(vs.Annotations[api.AnnotationWritten]), &was); err != nil {
		return nil
	}
	weights := parsePairs(was.To)
	var out []portion
	for _, name := range sortedKeys(parsePairs(vs.Annotations[api.AnnotationSubsets])) {
		weight, err := strconv.Atoi(weights[name])
		if err != nil {
			weight = 1
		}
		out = append(out, portion{s.subsets.versions[name], max(weight, 1)})
	}
	if weights["-"] != "" {
		out = append(out, portion{weight: 1})
	}
	return out
}

// weightsOf writes shares in the annotation's syntax; empty if they name anything but versions.
func (s *facts) weightsOf(to []portion) string {
	pairs := map[string]string{}
	for _, p := range to {
		if p.version == "" {
			return ""
		}
		pairs[p.version] = fmt.Sprint(p.weight)
	}
	return pairsText(pairs)
}

// editOf compares an existing VirtualService with what we wrote last, and returns its current shares. If managed fields show that
// the spec is ours alone, it is unedited, even if the digest differs. If nothing records what we wrote, it counts as unedited.
func (s *facts) editOf(vs *networkingv1.VirtualService) (edit, []portion) {
	var was written
	if err := json.Unmarshal([]byte(vs.Annotations[api.AnnotationWritten]), &was); err != nil || oursAlone(vs) {
		return unedited, nil
	}
	is, to, tcpTo, uneven := s.digest(vs)
	onlyHTTP := len(vs.Spec.Http) > 0 && (tcpTo == "" || tcpTo == was.To) // as Kiali saves a port that speaks either
	switch {
	case uneven || is.Shape != was.Shape || is.Copy != was.Copy && is.Copy != "" || is.TCP != was.TCP && (is.TCP != "" || !onlyHTTP) || tcpTo != is.To && !onlyHTTP:
		return restructured, nil
	case is.To != was.To || tcpTo != "" && tcpTo != is.To || is.TCP != was.TCP:
		return reweighed, to
	}
	return unedited, nil
}

// oursAlone reports whether managed fields prove that only we have written the current spec.
func oursAlone(vs *networkingv1.VirtualService) bool {
	ours := false
	for _, entry := range vs.ManagedFields {
		if entry.FieldsV1 == nil || !bytes.Contains(entry.FieldsV1.GetRawBytes(), []byte(`"f:spec"`)) {
			continue
		}
		if entry.Manager != api.FieldManager {
			return false
		}
		ours = true
	}
	return ours
}

func (w written) text() string {
	out, err := json.Marshal(w)
	if err != nil {
		panic(err) // a struct of texts
	}
	return string(out)
}

// sharesOf are the shares as written, by version; a version is empty if the subset is not ours.
func sharesOf[D weighted](routes []D, versions map[string]string) []portion {
	weights := map[string]int{}
	for _, d := range routes {
		weights[versions[d.GetDestination().GetSubset()]] += int(d.GetWeight())
	}
	var out []portion
	for _, version := range sortedKeys(weights) {
		weight := weights[version]
		if len(weights) == 1 {
			weight = 100
		}
		out = append(out, portion{version, weight})
	}
	return out
}

// changesNoShare reports whether shares differ from the written ones only within a workload that rolls out a version.
func (s *facts) changesNoShare(vs *networkingv1.VirtualService, to []portion) bool {
	return maps.Equal(s.sharesByWorkload(s.writtenShares(vs)), s.sharesByWorkload(to))
}

// writtenShares are the shares of the rules without a condition as we wrote them last.
func (s *facts) writtenShares(vs *networkingv1.VirtualService) []portion {
	var was written
	if err := json.Unmarshal([]byte(vs.Annotations[api.AnnotationWritten]), &was); err != nil {
		return nil
	}
	var out []portion
	weights := parsePairs(was.To)
	for _, name := range sortedKeys(weights) {
		if weight, err := strconv.Atoi(weights[name]); err == nil {
			out = append(out, portion{s.subsets.versions[name], weight})
		}
	}
	return out
}

// sharesByWorkload sums the shares of each workload, in lowest terms. It omits shares of weight 0.
func (s *facts) sharesByWorkload(portions []portion) map[string]int {
	out, divisor := map[string]int{}, 0
	for _, p := range portions {
		if p.weight > 0 {
			out[s.runningAs(p.version).String()] += p.weight
		}
	}
	for _, weight := range out {
		divisor = gcd(divisor, weight)
	}
	for carrier := range out {
		out[carrier] /= divisor
	}
	return out
}
