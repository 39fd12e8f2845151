// SPDX-License-Identifier: Apache-2.0

package manifest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Reader splits a file into its documents: YAML between marker lines, and JSON also where one document follows the other
// without a marker, concatenated or one on each line.
//
// The decoder of k8s.io/apimachinery that kubectl uses returns values and not text. A Writer needs the text: what is not injected
// must be written byte for byte, with its comments, order, and numbers. That decoder also ignores what follows the first value of
// a YAML document, and does not count documents, so a message could not say which one is wrong.
type Reader struct {
	in     *bufio.Reader
	file   string // for messages; empty if there is only one
	number int    // of the last document
	line   int    // of the last line
	held   []byte // the line that ended the last document and begins the next
	json   *jsonText
}

// jsonText is the text of JSON documents that have not been parsed yet.
type jsonText struct {
	text []byte
	line int // of the file, where the text begins
}

// NewReader returns a Reader. Messages name the file; leave it empty if there is only one.
func NewReader(in io.Reader, file string) *Reader {
	return &Reader{in: bufio.NewReaderSize(in, 64<<10), file: file}
}

// Next returns the next document, or io.EOF after the last one. It returns an error if a document that follows JSON without a
// separator is not JSON. It does not parse other documents.
func (r *Reader) Next() (*Document, error) {
	if r.json != nil {
		return r.nextJSON()
	}
	d, err := r.chunk()
	if err != nil {
		return nil, err
	}
	r.number++
	at := significant(d.content)
	if at == len(d.content) || d.content[at] != '{' {
		return d, nil
	}
	// Flow mappings of YAML begin in the same way. Document.parse reads them.
	value, end, err := decodeFirst(d.content[at:])
	if err != nil {
		return d, nil //nolint:nilerr // it may be YAML
	}
	if err := d.checkJSONKeys(d.content[at : at+end]); err != nil {
		return nil, err
	}
	end = afterLine(d.content, at+end)
	rest := d.content[end:]
	if blank(rest) {
		d.isRead = true
		return d, d.take(value)
	}
	r.json = &jsonText{text: rest, line: d.line + bytes.Count(d.content[:end], []byte("\n"))}
	d.content, d.isJSON, d.isRead = d.content[:end:end], true, true
	return d, d.take(value)
}

// nextJSON returns the next of several JSON documents.
func (r *Reader) nextJSON() (*Document, error) {
	r.number++
	d := &Document{number: r.number, file: r.file, line: r.json.line, isJSON: true, joined: true, isRead: true}
	text := r.json.text
	at := significant(text)
	d.line += bytes.Count(text[:at], []byte("\n"))
	value, end, err := decodeFirst(text[at:])
	if err != nil {
		return nil, fmt.Errorf("%s is not JSON, but the previous document is: line %d: %w", d.where(), d.line, err)
	}
	if err := d.checkJSONKeys(text[at : at+end]); err != nil {
		return nil, err
	}
	end = afterLine(text, at+end)
	if blank(text[end:]) {
		end = len(text)
		r.json = nil
	} else {
		r.json = &jsonText{text: text[end:], line: r.json.line + bytes.Count(text[:end], []byte("\n"))}
	}
	d.content = text[:end:end]
	return d, d.take(value)
}

// decodeFirst returns the first JSON value of a text, and the offset of its end.
func decodeFirst(text []byte) (any, int, error) {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
			err = errors.New("unexpected end of input")
		}
		return nil, 0, err
	}
	return value, int(decoder.InputOffset()), nil
}

// afterLine returns the offset after the end of the line if only space precedes it, or else at.
func afterLine(text []byte, at int) int {
	for i := at; i < len(text); i++ {
		switch text[i] {
		case '\n':
			return i + 1
		case ' ', '\t', '\r':
		default:
			return at
		}
	}
	return len(text)
}

// chunk returns the text up to the next marker line. A marker begins the document that follows it; "..." ends one.
func (r *Reader) chunk() (*Document, error) {
	d := &Document{number: r.number + 1, file: r.file, line: r.line + 1}
	if r.held != nil {
		d.line = r.line
		d.begin(r.held)
		r.held = nil
	}
	ended := false
	for {
		line, err := r.in.ReadBytes('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		if len(line) == 0 {
			if len(d.separator)+len(d.content) == 0 {
				return nil, io.EOF
			}
			return d, nil
		}
		r.line++
		marker := isMarker(line, "---")
		switch {
		case marker && d.number == 1 && len(d.separator) == 0 && blank(d.content):
			before := d.content
			d.content, d.line = nil, r.line
			d.begin(line)
			if len(d.separator) > 0 {
				d.separator = append(before, d.separator...)
			} else {
				d.content, d.line = append(before, d.content...), r.line-bytes.Count(before, []byte("\n"))
			}
		case marker, ended && !blank(line):
			r.held = line
			return d, nil
		default:
			d.content = append(d.content, line...)
		}
		ended = isMarker(line, "...") || ended && blank(line)
	}
}

// begin adds the first line of a document. Text after a marker, as in "--- {a: b}", belongs to the document.
func (d *Document) begin(line []byte) {
	if isMarker(line, "---") {
		if rest := strings.TrimSpace(string(line[3:])); rest == "" || strings.HasPrefix(rest, "#") {
			d.separator = line
			d.line++
			return
		}
	}
	d.content = append(d.content, line...)
}

func isMarker(line []byte, marker string) bool {
	rest, ok := bytes.CutPrefix(line, []byte(marker))
	return ok && (len(rest) == 0 || rest[0] == '\n' || rest[0] == '\r' || rest[0] == ' ' || rest[0] == '\t')
}

// Stream is the content of one small file: its documents and their objects.
type Stream struct {
	documents []*Document
	objects   []*Object
}

// Read reads a whole file. Its errors are those of Reader.Next and Document.Objects.
func Read(in io.Reader) (*Stream, error) {
	s := &Stream{}
	reader := NewReader(in, "")
	for {
		d, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return s, nil
		}
		if err != nil {
			return nil, err
		}
		found, err := d.Objects()
		if err != nil {
			return nil, err
		}
		s.documents, s.objects = append(s.documents, d), append(s.objects, found...)
	}
}

// Objects returns all objects in the order of the file, a List's items in place of the List.
func (s *Stream) Objects() []*Object { return s.objects }
