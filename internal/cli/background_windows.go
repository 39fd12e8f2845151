// SPDX-License-Identifier: Apache-2.0

package cli

// ignoreReadStops does nothing, because no shell of Windows stops a process that reads.
func ignoreReadStops() {}
