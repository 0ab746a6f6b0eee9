//go:build tools

// Names the program that is built, so that its modules are pinned here.
package tools

import _ "github.com/AlexxIT/go2rtc"
