package tdx

// Extend is register, for tests.
var Extend = register
