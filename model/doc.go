// Package model holds the words every other package shares: Tag, Sample, Quality, TimeRange, WriteMode.
//
// It imports only the standard library and does no input or output, so that any layer may use it. A sample is a time
// (int64 nanoseconds UTC), a value or null, and a quality (the full 32-bit OPC UA StatusCode). Many samples of one tag
// travel as [Samples], one slice per column, because every layer below the wire works on columns.
package model
