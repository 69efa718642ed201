package core

// ProblemNames returns the names of all problems.
func ProblemNames() []string {
	var all []string
	for _, k := range problems {
		all = append(all, k.name)
	}
	return all
}
