// Uses docker-credential-waybill as Docker does, through the client library of docker-credential-helpers.
package main

import (
	"fmt"
	"os"

	"github.com/docker/docker-credential-helpers/client"
	"github.com/docker/docker-credential-helpers/credentials"
)

func main() {
	if err := check(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func check() error {
	host, user, password := os.Getenv("EXPECTED_HOST"), os.Getenv("EXPECTED_USER"), os.Getenv("EXPECTED_PASSWORD")
	helper := client.NewShellProgramFunc("docker-credential-waybill")
	login, err := client.Get(helper, host)
	if err != nil {
		return fmt.Errorf("get: %w", err)
	}
	if login.ServerURL != host || login.Username != user || login.Secret != password {
		return fmt.Errorf("get answered for %q as %q, which is another login", login.ServerURL, login.Username)
	}
	servers, err := client.List(helper)
	if err != nil {
		return fmt.Errorf("list: %w", err)
	}
	if len(servers) != 1 || servers[host] != user {
		return fmt.Errorf("list answered %v", servers)
	}
	// docker login and logout call these: the login is Waybill's, so that they change nothing.
	if err := client.Store(helper, &credentials.Credentials{ServerURL: host, Username: "other", Secret: "other"}); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	if err := client.Erase(helper, host); err != nil {
		return fmt.Errorf("erase: %w", err)
	}
	if again, err := client.Get(helper, host); err != nil || again.Username != user {
		return fmt.Errorf("get after store and erase: %v %w", again, err)
	}
	if _, err := client.Get(helper, "registry.example.com"); !credentials.IsErrCredentialsNotFound(err) {
		return fmt.Errorf("an unknown host is not told as not found: %v", err)
	}
	return nil
}
