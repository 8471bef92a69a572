// Package unit reads units of measure written as UCUM codes (the case-sensitive ones of https://ucum.org) and converts between
// them.
//
//	code → Parse → Unit: a dimension, and value·scale + offset in base units → Convert → Conversion of doubles
//
// Factors are exact rationals until a [Conversion] is made of two units, so no digit is lost in a chain of definitions: a
// pound per square inch is what its definition says, to the last bit of a double.
//
// # What is taken and what is not
//
// table.go has the units; docs/reference/units.md lists them. Of UCUM's grammar all is read: prefixes, exponents, products,
// quotients, parentheses, integer factors, annotations, which count for nothing. Three things differ:
//
//   - The mole is a base unit, as in the SI, and no number of things as in UCUM: a check of dimensions that lets mol/l through
//     as 1/m3 would check little. For electricity the base is the ampere in place of the coulomb, which changes no conversion.
//   - Cel, [degF] and [degRe], whose zero is not that of the kelvin, stand alone or with a prefix, as UCUM has it; behind a
//     slash or in a product there is K or [degR].
//   - Logarithmic units ([pH], B, Np and the like) have a dimension each: dB becomes B, and neither becomes anything else.
//
// # Why it is our own
//
// The conversions are a table and a few hundred lines; the libraries there are for Go read the table from an XML file at run
// time or have no units with an offset, and convert in one step without telling scale and offset apart, which aggregates need:
// the standard deviation of a temperature has no offset.
package unit
