// Package lineprotocol reads the line protocol of InfluxDB:
//
//	measurement,key=value,key=value field=1.5,field=42i 1700000000000000000
//
// A Reader goes through a body line by line. Its memory is one buffer, which grows up to the longest line it is told to take. A line that is
// wrong is an error of that line, and the next call goes on behind it; the corpus in testdata says what is wrong and what is not.
//
// # What is left as it was written
//
// Measurement, tags and the keys of fields come as their bytes, escapes and all. Agents send the same few thousand of them over and over, so
// that whoever has seen them before knows what they mean by their bytes; Split and Unescape take apart those that are new. What Split refuses is an
// error of its line too. Values and times are read at once.
package lineprotocol
