"""Display on a terminal: tables, and a campaign as it goes on."""
