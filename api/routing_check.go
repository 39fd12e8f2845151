// SPDX-License-Identifier: Apache-2.0

package api

// CheckWeights returns an error if the text is not a valid value of the weights annotation.
func CheckWeights(text string) error {
	_, err := parseWeights(text)
	return err
}

// CheckDefaultVersion returns an error if the text is not a valid value of the default-version annotation.
func CheckDefaultVersion(text string) error {
	_, err := parseDefault(text)
	return err
}
