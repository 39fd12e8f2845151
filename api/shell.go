// SPDX-License-Identifier: Apache-2.0

package api

import "strings"

// ShellWord returns text as one word of a shell: unchanged where the shell takes it literally, and otherwise in quotes.
func ShellWord(text string) string {
	const literal = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789@%+=:,./_-"
	if text != "" && strings.Trim(text, literal) == "" {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}
