/// Makes two tests of each function that takes a `&User`: one as an ordinary user, and one as root.
macro_rules! for_every_user {
    ($($check:ident),+ $(,)?) => {
        mod as_ordinary_user {
            $(
                #[test]
                fn $check() {
                    super::$check(&crate::support::User::ordinary());
                }
            )+
        }

        mod as_root {
            $(
                #[test]
                #[ignore = "needs root"]
                fn $check() {
                    super::$check(&crate::support::User::root());
                }
            )+
        }
    };
}

pub(crate) use for_every_user;
