// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"fmt"
	"slices"
	"strings"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/routing"
)

// SupersededText returns a sentence about the settings that the success of a canary has superseded, or "" if there are none. It contains values
// of annotations.
func (s ServiceStatus) SupersededText() string {
	if len(s.Superseded) == 0 {
		return ""
	}
	var settings []string
	for _, one := range s.Superseded {
		settings = append(settings, one.Annotation+"="+one.Value)
	}
	verb := "has"
	if len(settings) > 1 {
		verb = "have"
	}
	return fmt.Sprintf("%s %s no effect, because canary %s has succeeded since.", strings.Join(settings, " and "), verb, s.Superseded[0].By)
}

// SupersededAdvice returns how to update the settings that a canary has superseded, all at once; "" if there are none.
func (s ServiceStatus) SupersededAdvice() string {
	if len(s.Superseded) == 0 {
		return ""
	}
	return s.Superseded[0].Advice
}

// supersededRows explains the settings that a canary has superseded.
func supersededRows(s ServiceStatus) [][]string {
	if len(s.Superseded) == 0 {
		return nil
	}
	return [][]string{{"Settings", strings.TrimSpace(s.SupersededText() + " " + s.SupersededAdvice())}}
}

// autoRows explains what becomes of new versions with auto, and what changes when a freeze ends.
func autoRows(s ServiceStatus) (rows [][]string) {
	if s.WhenThawed != "" {
		rows = append(rows, []string{"When the freeze ends", s.WhenThawed})
	}
	if s.AutoCanaries {
		rows = append(rows, []string{"New versions", "each one starts a canary (" + api.AnnotationCanary + "=" + api.CanaryAuto + ")"})
	}
	return rows
}

// startsAuto reports whether a decision requests a canary of each new version.
func startsAuto(before, after routing.Observed) bool {
	isAuto := func(observed routing.Observed) bool {
		return observed.Intent.Canary != nil && observed.Intent.Canary.Auto
	}
	return isAuto(after) && !isAuto(before)
}

// autoNote says which versions start a canary with auto. c is the canary after the decision, or nil.
func autoNote(c *CanaryStatus, after routing.Observed) string {
	known := routing.KnownVersions(after)
	text := "new versions start a canary"
	if c != nil && c.IsProgressing() {
		text = "canary " + c.Version + " continues; " + text
		known = slices.DeleteFunc(known, func(version string) bool { return version == c.Version })
	}
	switch {
	case len(known) == 0:
		return text
	case len(known) == 1:
		return text + "; " + known[0] + " exists already, and starts none"
	}
	return text + "; " + strings.Join(known[:len(known)-1], ", ") + " and " + known[len(known)-1] + " exist already, and start none"
}
