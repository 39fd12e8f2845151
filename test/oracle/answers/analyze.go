// SPDX-License-Identifier: Apache-2.0

package answers

import (
	"fmt"
	"strings"

	"istio.io/istio/pkg/config/analysis/analyzers"
	"istio.io/istio/pkg/config/analysis/local"
)

// analyzeRequest is the whole state of a cluster, as YAML documents.
type analyzeRequest struct {
	YAML string `json:"yaml"`
}

// analyzeAnswer is everything that Istio's analyzers, its validation of every kind among them, have to say.
type analyzeAnswer struct {
	Messages []message `json:"messages"`
	// Skipped are the analyzers that did not run. There should be none.
	Skipped  []string `json:"skipped,omitempty"`
	Executed []string `json:"executed"`
}

// message is one finding.
type message struct {
	Code     string `json:"code"`  // "IST0101"
	Level    string `json:"level"` // "Error", "Warning", "Info"
	Message  string `json:"message"`
	Resource string `json:"resource,omitempty"`
}

// analyze runs all analyzers over the documents, pods and namespaces included.
func analyze(r analyzeRequest) (*analyzeAnswer, error) {
	analyzer := local.NewSourceAnalyzer(analyzers.AllCombined(), "", "istio-system", nil)
	source := local.ReaderSource{Name: "cluster", Reader: strings.NewReader(r.YAML)}
	if err := analyzer.AddTestReaderKubeSource([]local.ReaderSource{source}); err != nil {
		return nil, fmt.Errorf("reading the documents: %w", err)
	}
	stop := make(chan struct{})
	defer close(stop)
	result, err := analyzer.Analyze(stop)
	if err != nil {
		return nil, err
	}
	answer := &analyzeAnswer{Messages: []message{}, Skipped: result.SkippedAnalyzers, Executed: result.ExecutedAnalyzers}
	for _, m := range result.Messages {
		found := message{
			Code:    m.Type.Code(),
			Level:   m.Type.Level().String(),
			Message: fmt.Sprintf(m.Type.Template(), m.Parameters...),
		}
		if m.Resource != nil {
			found.Resource = m.Resource.Origin.FriendlyName()
		}
		answer.Messages = append(answer.Messages, found)
	}
	return answer, nil
}
