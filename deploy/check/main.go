// Loads compose files as `docker compose` does and prints the project as JSON; any fault is told and fails.
//
//	compose-check FILE [NAME=VALUE ...]
//
// The environment is only what the arguments say, so that what is missing is found on every machine.
package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/compose-spec/compose-go/v2/cli"
)

func main() {
	if err := check(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func check(args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("usage: compose-check FILE [NAME=VALUE ...]")
	}
	for _, pair := range args[1:] {
		if !strings.Contains(pair, "=") {
			return fmt.Errorf("%q is no NAME=VALUE", pair)
		}
	}
	options, err := cli.NewProjectOptions(args[:1], cli.WithEnv(args[1:]), cli.WithInterpolation(true), cli.WithConsistency(true))
	if err != nil {
		return err
	}
	project, err := options.LoadProject(context.Background())
	if err != nil {
		return err
	}
	text, err := project.MarshalJSON()
	if err != nil {
		return err
	}
	fmt.Println(string(text))
	return nil
}
