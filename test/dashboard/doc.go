// SPDX-License-Identifier: Apache-2.0

// Package dashboard drives "outrigger dashboard" in a real browser, for the tests in test/e2e and for the benchmark here.
//
// Need skips a test if there is no browser, Start starts the command, and Open opens its first page in a tab. A tab fails its test if a
// page shows a dialog, throws an exception, or violates its Content-Security-Policy. Audit checks accessibility with axe-core.
package dashboard
