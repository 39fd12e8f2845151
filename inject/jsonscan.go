// SPDX-License-Identifier: Apache-2.0

package inject

import "errors"

// The documents that requests bring are JSON already, or they would not have been decoded as reviews. What follows only
// finds where their parts are, without making anything of them. On what is no JSON it may find anything, but it neither
// panics nor reads beyond the end.

var errNoJSON = errors.New("not the JSON that is expected")

// members shows each member of an object with its key, without quotes and as it is written, and where its value stands.
// It returns where the object ends.
func members(text []byte, at int, visit func(key []byte, value span) error) (end int, err error) {
	return scanList(text, at, '{', '}', func(at int) (int, error) {
		keyEnd, err := scanString(text, at)
		if err != nil {
			return 0, err
		}
		colon := skipSpace(text, keyEnd)
		if colon >= len(text) || text[colon] != ':' {
			return 0, errNoJSON
		}
		from := skipSpace(text, colon+1)
		to, err := scanValue(text, from)
		if err != nil {
			return 0, err
		}
		return to, visit(text[at+1:keyEnd-1], span{from, to})
	})
}

// elements returns the elements of a list.
func elements(text []byte) (list [][]byte, err error) {
	end, err := scanList(text, skipSpace(text, 0), '[', ']', func(at int) (int, error) {
		to, err := scanValue(text, at)
		if err == nil {
			list = append(list, text[at:to])
		}
		return to, err
	})
	if err == nil && skipSpace(text, end) != len(text) {
		err = errNoJSON
	}
	return list, err
}

// fieldsOf returns the members of an object by key. A later one of the same key wins, as it does for encoding/json.
func fieldsOf(text []byte) (map[string][]byte, error) {
	fields := make(map[string][]byte, 16)
	end, err := members(text, skipSpace(text, 0), func(key []byte, value span) error {
		for _, c := range key {
			if c == '\\' {
				return errNoJSON // the API server escapes no key that is looked for
			}
		}
		fields[string(key)] = text[value.from:value.to]
		return nil
	})
	if err == nil && skipSpace(text, end) != len(text) {
		err = errNoJSON
	}
	return fields, err
}

// scanList goes over what stands between two brackets, separated by commas.
func scanList(text []byte, at int, open, closing byte, item func(at int) (end int, err error)) (end int, err error) {
	if at >= len(text) || text[at] != open {
		return 0, errNoJSON
	}
	at = skipSpace(text, at+1)
	if at < len(text) && text[at] == closing {
		return at + 1, nil
	}
	for {
		if at, err = item(at); err != nil {
			return 0, err
		}
		at = skipSpace(text, at)
		if at >= len(text) || text[at] != ',' && text[at] != closing {
			return 0, errNoJSON
		}
		if text[at] == closing {
			return at + 1, nil
		}
		at = skipSpace(text, at+1)
	}
}

func skipSpace(text []byte, at int) int {
	for at < len(text) && (text[at] == ' ' || text[at] == '\n' || text[at] == '\t' || text[at] == '\r') {
		at++
	}
	return at
}

// scanString returns where the string that begins here ends, behind its quote.
func scanString(text []byte, at int) (end int, err error) {
	if at >= len(text) || text[at] != '"' {
		return 0, errNoJSON
	}
	for at++; at < len(text); at++ {
		switch text[at] {
		case '\\':
			at++
		case '"':
			return at + 1, nil
		}
	}
	return 0, errNoJSON
}

// scanValue returns where the value that begins here ends. It counts brackets and knows nothing else of what is inside.
func scanValue(text []byte, at int) (end int, err error) {
	begin, depth := at, 0
	for at < len(text) {
		switch text[at] {
		case '"':
			if at, err = scanString(text, at); err != nil {
				return 0, err
			}
			if depth == 0 {
				return at, nil
			}
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 {
				return bare(begin, at)
			}
			if depth--; depth == 0 {
				return at + 1, nil
			}
		case ',', ' ', '\n', '\t', '\r':
			if depth == 0 {
				return bare(begin, at)
			}
		}
		at++
	}
	if depth > 0 {
		return 0, errNoJSON
	}
	return bare(begin, at)
}

// bare is the end of a number or a word, which has at least one character.
func bare(begin, end int) (int, error) {
	if begin == end {
		return 0, errNoJSON
	}
	return end, nil
}
