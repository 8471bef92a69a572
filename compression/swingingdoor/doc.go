// Package swingingdoor chooses which samples the archive keeps: the compression-deviation filter.
//
// # The door
//
//	kept sample → (door: every slope that passes all samples since within the deviation) → newest sample, not kept yet
//
// A door hangs on the last sample kept. Each sample behind it closes the door to the slopes that pass within the deviation
// above or below it; it never opens again. When a sample comes, its own slope from the hinge is tested. Inside, the sample
// before it is left out, for the line to the new one passes it closely enough. Outside, the sample before it is kept and
// becomes the hinge of a new door. So a line is only ever drawn to a sample that was tested against all it passes. Testing
// whether the door has shut instead, as is often done, draws lines that were never tested: they miss by up to twice the
// deviation.
//
// For a stepped tag, and for values that are no numbers, no line is drawn: a sample is kept if its value differs from the
// one kept before; in the textbook form a number of a stepped tag if it does so by more than the deviation. What package filter promises of both filters holds.
//
// # The bound
//
// [Strict] promises in doubles, not only on paper: for every sample left out while samples came in order,
//
//	|model.OnLine(kept before, kept behind, its time) - its value| <= Deviation + 4 ulp(the greater magnitude of the two)
//
// whatever magnitudes and distances, and if a minimum time is set all the same. door.go has why. A late sample cannot be
// held against samples that were left out before it came: it is kept, and where it lands the lines bend.
package swingingdoor
