// SPDX-License-Identifier: Apache-2.0

package api

// CheckWeights says what is wrong with the text of the weights annotation; nil if it parses.
func CheckWeights(text string) error {
	_, err := parseWeights(text)
	return err
}

// CheckDefaultVersion says what is wrong with the text of the default-version annotation; nil if it parses.
func CheckDefaultVersion(text string) error {
	_, err := parseDefault(text)
	return err
}
