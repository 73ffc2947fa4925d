//! The help of every command.

use clap::CommandFactory as _;

use super::*;

/// Every command that does something, with its whole name.
fn leaves(command: &clap::Command, name: &str, found: &mut Vec<(String, clap::Command)>) {
    let below: Vec<_> = command.get_subcommands().filter(|below| below.get_name() != "help").collect();
    if below.is_empty() {
        found.push((name.to_owned(), command.clone()));
    }
    for command in below {
        leaves(command, &format!("{name} {}", command.get_name()), found);
    }
}

#[test]
fn help_has_examples_and_exit_status_in_80_columns() {
    let mut cli = Cli::command();
    cli.build();
    for command in cli.get_subcommands().filter(|command| command.get_name() != "help") {
        let help = command.clone().render_long_help().to_string();
        assert!(help.contains("Exit status: "), "{}", command.get_name());
    }
    let mut found = Vec::new();
    leaves(&cli, "waybill", &mut found);
    assert!(found.len() > 15, "{}", found.len());
    for (name, mut command) in found {
        for help in [command.render_help().to_string(), command.render_long_help().to_string()] {
            assert!(help.contains("Examples:\n"), "{name} has no example");
            let long = help.lines().find(|line| line.chars().count() > output::WIDTH);
            assert_eq!(long, None, "{name}");
        }
    }
}
