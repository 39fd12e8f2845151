// SPDX-License-Identifier: Apache-2.0

// Package api holds every word a user of Outrigger may write, a label, an annotation or a field of the
// configuration file, with its default and its check, and every word Outrigger answers with: the Problem and the
// closed sets of reasons. It is pure: it reads no clock, no file and no cluster.
package api
