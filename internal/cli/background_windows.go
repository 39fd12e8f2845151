// SPDX-License-Identifier: Apache-2.0

package cli

// ignoreReadStops does nothing, because Windows does not stop a background process that reads the terminal.
func ignoreReadStops() {}
