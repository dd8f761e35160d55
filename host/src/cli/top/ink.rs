//! Colors, if enabled, and their replacements.

use millstream_base::terminal;
use ratatui_core::style::{Color, Modifier, Style};

/// The available styles.
#[derive(Clone, Copy, Debug)]
pub struct Ink {
    colours: bool,
}

impl Ink {
    /// Creates it from the environment.
    pub fn of_environment() -> Ink {
        Ink { colours: terminal::has_colours() }
    }

    fn in_colour(self, colour: Color) -> Style {
        if self.colours { Style::new().fg(colour) } else { Style::new() }
    }

    pub fn strong(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    pub fn quiet(self) -> Style {
        self.in_colour(Color::DarkGray)
    }

    pub fn good(self) -> Style {
        self.in_colour(Color::Green)
    }

    pub fn warm(self) -> Style {
        self.in_colour(Color::Yellow)
    }

    pub fn bad(self) -> Style {
        self.in_colour(Color::Red).add_modifier(Modifier::BOLD)
    }

    pub fn head(self) -> Style {
        self.in_colour(Color::Cyan).add_modifier(Modifier::BOLD)
    }

    /// Returns the style of the selected line.
    pub fn chosen(self, style: Style) -> Style {
        style.add_modifier(Modifier::REVERSED)
    }
}
