//! `millstream retry`: gives rejected rows back to the stage that rejected them.
