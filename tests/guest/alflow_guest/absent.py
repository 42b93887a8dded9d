"""A kind whose module cannot be imported: a library of its own is not there."""

import a_library_that_nobody_has

KIND = a_library_that_nobody_has.KIND
