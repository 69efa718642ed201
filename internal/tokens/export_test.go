package tokens

import "errors"

// Reason returns which guard of Verify err comes from, as one lower-case word out of a fixed few, or "" if from none.
func Reason(err error) string {
	var r reason
	if errors.As(err, &r) {
		return string(r)
	}
	return ""
}
