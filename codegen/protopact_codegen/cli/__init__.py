"""Commands of the plugin's side for `protopact`, which finds them as entry points of the group `protopact.commands`."""
