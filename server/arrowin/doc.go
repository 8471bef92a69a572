// Package arrowin reads Arrow streams that came from outside.
//
//	message → check → Arrow's own reader → record batch
//
// Arrow's reader believes what a message says of itself: one flipped bit makes it ask for hundreds of gigabytes, which no program
// survives. So each message is held against the bytes it came with before Arrow sees it: every table, vector and string of its
// header lies within the header, every column has the buffers its type needs, each as long as its rows need it, within the body.
// What Arrow then asks memory for is counted, and more than a limit ends the stream. A panic that is left ends the stream too.
//
// Streams are of columns of booleans, numbers, texts, bytes, dates, times and dictionaries of them, and, where that is asked for, of lists and
// structs. Other columns, compressed bodies and those of a big-endian machine are refused by name.
package arrowin
