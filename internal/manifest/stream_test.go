// SPDX-License-Identifier: Apache-2.0

package manifest

import (
	"bytes"
	"io"
)

// YAML returns the stream as a YAML writer writes it.
func (s *Stream) YAML() ([]byte, error) { return s.text(NewYAMLWriter) }

// IndentedJSON returns the stream as a JSON writer writes it.
func (s *Stream) IndentedJSON() ([]byte, error) { return s.text(NewJSONWriter) }

func (s *Stream) text(writer func(io.Writer) Writer) ([]byte, error) {
	var out bytes.Buffer
	w := writer(&out)
	for _, d := range s.documents {
		if err := w.Write(d); err != nil {
			return nil, err
		}
	}
	err := w.Close()
	return out.Bytes(), err
}
